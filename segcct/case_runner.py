"""The one loop over cases: jobs in, outcomes out. A failure is a value; the caller decides what is an error."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Generic, TypeVar

from segcct.errors import WorkerError, describe_failure, is_foreseen, kind_of, of_case, show_traceback, traceback_of
from segcct.files.disk_space import is_full
from segcct.hardware.memory import peak_memory_mb
from segcct.plurals import counted
from segcct.progress import Report

Input = TypeVar("Input")
Value = TypeVar("Value")


@dataclass(frozen=True)
class CaseJob(Generic[Input]):
    """One case to work on."""

    id: str
    input: Input
    alias: str | None = None
    """The hashed name that replaces the id in every message; None where the id may be named."""

    @property
    def name(self) -> str:
        """What messages call the case."""
        return self.id if self.alias is None else self.alias


@dataclass(frozen=True)
class Done(Generic[Value]):
    """A case that was processed."""

    name: str
    value: Value


@dataclass(frozen=True)
class Failed:
    """A case that could not be processed, with a line for each reason; `failures` adds which case it is."""

    name: str
    reasons: tuple[str, ...]
    kind: str
    """The first reason in words that name no file, case or value."""
    traceback: str = ""
    """From the process that raised it, where the error was not an expected one."""
    seconds: float | None = None
    """Until it failed; None where that is not known, as of a process that died."""
    peak_memory_mb: float | None = None
    """Most memory of the process until it failed, in MB; None as for `seconds`."""


@dataclass(frozen=True)
class Skipped:
    """A case that was not started, or was stopped."""

    name: str
    reason: str


CaseOutcome = Done[Value] | Failed | Skipped
Call = tuple[CaseJob[Any], Callable[[], CaseOutcome[Any]]]


class Calls:
    """The calls of one loop, each made as it is taken.

    Args:
        jobs: the cases.
        work: what is done with the input of each, from the next call on.
    """

    def __init__(self, jobs: Iterable[CaseJob[Any]], work: Callable[[Any], Any]) -> None:
        self.jobs = jobs
        self.work = work
        self.stopped = ""
        """Why the cases that have not ended are skipped; empty as long as they are not."""

    def __iter__(self) -> Iterator[Call]:
        for job in self.jobs:
            yield job, partial(Skipped, job.name, self.stopped) if self.stopped else partial(attempt, self.work, job)


Backend = Callable[[Calls, int], Iterator[CaseOutcome[Any]]]
"""Runs calls, taking each only when there is room for it, and yields their outcomes in order."""


def run_cases(
    jobs: Iterable[CaseJob[Input]],
    work: Callable[[Input], Value],
    *,
    total: int | None = None,
    backend: str | Backend = "serial",
    workers: int = 1,
    after_failure: Callable[[Input], Value] | None = None,
    output: Path | None = None,
    max_failures: int | None = None,
    progress: Report | None = None,
) -> Iterator[CaseOutcome[Value]]:
    """Outcomes in the order of the jobs, each as soon as it is there; jobs are taken only when there is room.

    Args:
        jobs: the cases.
        work: what is done with the input of each; a module-level function, for processes.
        total: the number of jobs, where `jobs` has no length.
        backend: a name in `BACKENDS`, or one that was made for this call.
        workers: the number of cases processed at a time.
        after_failure: done instead of `work` once a case has failed.
        output: the folder that `work` writes to; if its disk is full after a failure, the remaining cases are skipped.
        max_failures: once more cases than this have failed, the remaining ones are skipped, those that wait for a
            worker too.
        progress: called with (done, total).
    """
    count = len(jobs) if isinstance(jobs, Sized) else total or 0
    failed, calls = 0, Calls(jobs, work)
    if progress and count:
        progress(0, count)
    run = BACKENDS[backend] if isinstance(backend, str) else backend
    for done, outcome in enumerate(run(calls, workers), start=1):
        if isinstance(outcome, Failed):
            failed += 1
            calls.work = after_failure or work
            show_traceback(outcome.traceback)
            if max_failures is not None and failed > max_failures:
                calls.stopped = calls.stopped or f"more than {counted(max_failures, 'case')} failed"
            if output is not None and not calls.stopped and is_full(output):
                calls.stopped = f"the disk of {output} is full"
        if progress:
            progress(done, count)
        yield outcome


def attempt(work: Callable[[Input], Value], job: CaseJob[Input]) -> CaseOutcome[Value]:
    """Process one case; every exception becomes a value, except an interrupt. An `ExceptionGroup` is several failures
    at once."""
    began = time.monotonic()
    try:
        return Done(job.name, work(job.input))
    except Exception as error:
        seconds = time.monotonic() - began
        return replace(_failed(job, error), seconds=seconds, peak_memory_mb=peak_memory_mb())


def failures(outcomes: Iterable[CaseOutcome[Any]]) -> list[str]:
    """The reasons why cases failed, each with the name of its case."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    return [of_case(each.name, reason) for each in failed for reason in each.reasons]


def skipped(outcomes: Iterable[CaseOutcome[Any]]) -> list[str]:
    """Why cases were skipped and how many, in one line; none if all were tried."""
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Skipped)]
    return [f"{reasons[0]}: {counted(len(reasons), 'more case')} skipped"] if reasons else []


def values(outcomes: Iterable[CaseOutcome[Value]]) -> list[Value]:
    """The results of the cases that were processed."""
    return [outcome.value for outcome in outcomes if isinstance(outcome, Done)]


def _serial(calls: Calls, _: int) -> Iterator[CaseOutcome[Any]]:
    return (call() for _, call in calls)


def _in_threads(calls: Calls, workers: int) -> Iterator[CaseOutcome[Any]]:
    return pooled(calls, ThreadPoolExecutor(workers), lambda: 2 * workers)


def _in_processes(calls: Calls, workers: int) -> Iterator[CaseOutcome[Any]]:
    return pooled(calls, ProcessPool(workers), lambda: 2 * workers)


BACKENDS: dict[str, Backend] = {"serial": _serial, "threads": _in_threads, "processes": _in_processes}
"""Ways to run the calls; others may be added."""


class ProcessPool(ProcessPoolExecutor):
    """Processes that Ctrl-C ends without a word, also while they start; the one that waits for them says it.

    They are spawned, not forked: a fork copies the locks of threads that other libraries may hold.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), _end_in_silence)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As of any executor. It may start a process, which inherits that Ctrl-C waits until it is ready."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().submit(fn, *args, **kwargs)
        resource_tracker.ensure_running()  # which would let Ctrl-C through again if it were started with the first
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_in_silence() -> None:
    """What a process of a `ProcessPool` does first."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as for a command in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _failed(job: CaseJob[Any], error: Exception) -> Failed:
    parts = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    if job.alias is None:
        reasons = tuple(describe_failure(part) for part in parts)
    else:
        reasons = tuple(f"{kind_of(part)}; sources.json says which case it is" for part in parts)
    foreseen = all(is_foreseen(part) for part in parts)
    shown = "" if foreseen else traceback_of(error, messages=job.alias is None)
    return Failed(job.name, reasons, kind_of(parts[0]), shown)


def pooled(calls: Calls, pool: Executor, room: Callable[[], int]) -> Iterator[CaseOutcome[Any]]:
    """Outcomes of calls that an executor runs, in order; a call is taken while fewer than `room` are pending, so that
    memory does not grow with the number of cases. Once they are stopped, the executor cancels what it can."""
    pending: deque[tuple[CaseJob[Any], Future[CaseOutcome[Any]]]] = deque()
    dead = False

    def first() -> CaseOutcome[Any]:
        nonlocal dead
        if calls.stopped:
            pool.shutdown(wait=False, cancel_futures=True)
        job, future = pending.popleft()
        try:
            return future.result()
        except CancelledError:
            return Skipped(job.name, calls.stopped)
        except BrokenProcessPool:
            if dead:
                return Skipped(job.name, WorkerError.kind)
            dead = True
            where = f"{WorkerError.kind}, while working on this case or one next to it"
            return Failed(job.name, (f"{where}. It may have run out of memory: use fewer workers",), WorkerError.kind)
        except WorkerError as error:
            # What was found may name files.
            told = error if job.alias is None else WorkerError(error.kind, remedy=error.remedy)
            return Failed(job.name, (str(told),), error.kind)
        except Exception as error:  # such as a result that cannot be pickled
            return _failed(job, error)

    try:
        for job, call in calls:
            future: Future[CaseOutcome[Any]] = Future()
            try:
                if calls.stopped:
                    future.set_result(call())
                else:
                    future = pool.submit(call)
            except BrokenProcessPool as error:
                future.set_exception(error)
            pending.append((job, future))
            while len(pending) >= room():
                yield first()
        while pending:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)
