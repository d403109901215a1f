"""The one loop over cases: jobs in, outcomes out. A failure is a value; who asked decides what is an error."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from segcct.errors import describe_failure, is_foreseen, kind_of, show_traceback, traceback_of
from segcct.files.disk_space import is_full
from segcct.progress import Report

Input = TypeVar("Input")
Value = TypeVar("Value")


@dataclass(frozen=True)
class CaseJob(Generic[Input]):
    """One case to work on."""

    id: str
    input: Input
    alias: str | None = None
    """The hashed name that stands for the id in everything told of the case; None where the id may be told."""

    @property
    def name(self) -> str:
        """What the case is called."""
        return self.id if self.alias is None else self.alias


@dataclass(frozen=True)
class Done(Generic[Value]):
    """A case that was worked on."""

    name: str
    value: Value


@dataclass(frozen=True)
class Failed:
    """A case that was not, and why: a line for each thing that is wrong with it."""

    name: str
    reasons: tuple[str, ...]
    kind: str
    """The same in words that name no file, case or value."""
    traceback: str = ""
    """Of the process that met it, where nobody foresaw the error."""


@dataclass(frozen=True)
class Skipped:
    """A case that was not begun."""

    name: str
    reason: str


_DIED = "a worker process died"
Outcome = Done[Value] | Failed | Skipped
Task = tuple[CaseJob[Any], Callable[[], Outcome[Any]]]
Backend = Callable[[Iterable[Task], int], Iterator[Outcome[Any]]]
"""Runs tasks, taken one by one as there is room for them, and yields their outcomes in the order of the tasks."""


def run_cases(
    jobs: Iterable[CaseJob[Input]],
    work: Callable[[Input], Value],
    *,
    total: int | None = None,
    backend: str = "serial",
    workers: int = 1,
    after_failure: Callable[[Input], Value] | None = None,
    output: Path | None = None,
    progress: Report | None = None,
) -> Iterator[Outcome[Value]]:
    """Outcomes in the order of the jobs, each as soon as it is there; jobs are taken no earlier than there is room.

    Args:
        jobs: the cases.
        work: what is done with the input of each; a function of a module, for processes.
        total: how many jobs there are, where `jobs` has no length.
        backend: a name in `BACKENDS`.
        workers: how many cases are worked on at a time.
        after_failure: done instead of `work` once a case has failed.
        output: the folder that the work writes into; where its disk is full after a failure, the rest is skipped.
        progress: called with (done, total).
    """
    count = len(jobs) if isinstance(jobs, Sized) else total or 0
    failed, reason = False, ""

    def tasks() -> Iterator[Task]:
        for job in jobs:
            what = after_failure if failed and after_failure else work
            yield job, partial(Skipped, job.name, reason) if reason else partial(attempt, what, job)

    if progress and count:
        progress(0, count)
    for done, outcome in enumerate(BACKENDS[backend](tasks(), workers), start=1):
        if isinstance(outcome, Failed):
            failed = True
            show_traceback(outcome.traceback)
            if output is not None and not reason and is_full(output):
                reason = f"the disk of {output} is full"
        if progress:
            progress(done, count)
        yield outcome


def attempt(work: Callable[[Input], Value], job: CaseJob[Input]) -> Outcome[Value]:
    """Work on one case; all but an interrupt comes back as a value. Several failures may come as an ExceptionGroup."""
    try:
        return Done(job.name, work(job.input))
    except Exception as error:
        return _failed(job, error)


def _failed(job: CaseJob[Any], error: Exception) -> Failed:
    parts = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    foreseen = all(is_foreseen(part) for part in parts)
    if job.alias is None:
        reasons = tuple(describe_failure(part, job.id) for part in parts)
    else:
        reasons = tuple(f"{job.alias}: {kind_of(part)}; sources.json tells which case it is" for part in parts)
    return Failed(job.name, reasons, kind_of(parts[0]), "" if foreseen else traceback_of(error))


def failures(outcomes: Iterable[Outcome[Any]]) -> list[str]:
    """Why cases failed, a line for each reason."""
    return [reason for outcome in outcomes if isinstance(outcome, Failed) for reason in outcome.reasons]


def values(outcomes: Iterable[Outcome[Value]]) -> list[Value]:
    """What came of the cases that were worked on."""
    return [outcome.value for outcome in outcomes if isinstance(outcome, Done)]


def _in_turn(tasks: Iterable[Task], _: int) -> Iterator[Outcome[Any]]:
    return (task() for _, task in tasks)


def _in_threads(tasks: Iterable[Task], workers: int) -> Iterator[Outcome[Any]]:
    return _pooled(tasks, ThreadPoolExecutor(workers), workers)


def _in_processes(tasks: Iterable[Task], workers: int) -> Iterator[Outcome[Any]]:
    # Spawned, not forked: a fork copies locks of threads that other libraries may hold.
    return _pooled(tasks, ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")), workers)


BACKENDS: dict[str, Backend] = {"serial": _in_turn, "threads": _in_threads, "processes": _in_processes}
"""How tasks are spread; others may be added."""


def _pooled(tasks: Iterable[Task], pool: Executor, workers: int) -> Iterator[Outcome[Any]]:
    """At most twice as many tasks as workers are under way, so that memory does not grow with their number."""
    running: deque[tuple[CaseJob[Any], Future[Outcome[Any]]]] = deque()
    dead = False

    def first() -> Outcome[Any]:
        nonlocal dead
        job, future = running.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            if dead:
                return Skipped(job.name, _DIED)
            dead = True
            beside = f"{_DIED}, while working on case {job.name} or one beside it"
            reason = f"{beside}. It may have run out of memory: use fewer than {workers} workers"
            return Failed(job.name, (reason,), _DIED)
        except Exception as error:  # such as an outcome that cannot be sent back
            return _failed(job, error)

    try:
        for job, task in tasks:
            running.append((job, _submitted(pool, task)))
            if len(running) >= 2 * workers:
                yield first()
        while running:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: Executor, task: Callable[[], Outcome[Any]]) -> Future[Outcome[Any]]:
    try:
        return pool.submit(task)
    except BrokenProcessPool as error:
        never: Future[Outcome[Any]] = Future()
        never.set_exception(error)
        return never
