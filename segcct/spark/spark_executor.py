"""Calls that run in Spark, behind the interface of `concurrent.futures`."""

from __future__ import annotations

import gc
import os
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from segcct.errors import WorkerError

if TYPE_CHECKING:
    from pyspark import SparkContext

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
_Waiting = tuple[Future[Any], Callable[[], Any]]
_Outcome = tuple[Any, Exception | None]
TASK_SECONDS = 2.0
"""Short calls are put together to tasks of about this length: Spark needs some hundredths of a second for each. A task
begins no further call after it."""
_MOST_CALLS = 64
_FEWEST_TASKS = 4
"""At a time in Spark's own queue, at least, so that it notices that a cluster should grow."""
_MOST_TASKS = 4096
"""At a time; each has a thread of the driver, which only waits."""


class SparkExecutor(Executor):
    """Runs calls in tasks of Spark, which are retried where a worker dies; several short calls share a task.

    Functions, arguments and results travel by pickle, never the content of files: workers see those under the same
    names, relative ones too. A future raises the exception of its call, or `WorkerError` where the worker died each
    time.

    Args:
        context: a running Spark.
        threads: calls at a time in a task.
    """

    def __init__(self, context: SparkContext, *, threads: int = 1) -> None:
        self.context = context
        self.threads = threads
        self.group = f"segcct-{uuid.uuid4().hex[:8]}"
        self._cores = task_cores(context)
        self._slots = task_slots(context, self._cores)
        self._call_seconds = TASK_SECONDS
        self._lock = Lock()
        self._waiting: deque[_Waiting] = deque()
        self._tasks = 0
        """At a time now."""
        self._ended = self._canceled = False
        self._threads = ThreadPoolExecutor(_MOST_TASKS)

    def submit(
        self, function: Callable[Parameters, Value], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Value]:
        """The future of one call."""
        future: Future[Value] = Future()
        with self._lock:
            if self._ended:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append((future, partial(function, *args, **kwargs)))
            self._begin_tasks(1)
        return future

    def room(self) -> int:
        """Calls that keep every worker busy, waiting ones included."""
        return 2 * self._slots * self._calls_in_a_task()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as `Executor`
        """Wait for the calls; `cancel_futures` ends all of them, also those that run, at once."""
        with self._lock:
            self._ended = True
            self._canceled = self._canceled or cancel_futures
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))] if cancel_futures else []
            running = self._tasks > 0
        _cancel(waiting)
        if cancel_futures and running:  # also the task that a thread is about to begin
            with suppress(Exception):  # Spark has ended, and its tasks with it
                self.context._jsc.sc().cancelJobGroupAndFutureJobs(self.group)
        self._threads.shutdown(wait=wait)

    def _calls_in_a_task(self) -> int:
        return max(self.threads, min(_MOST_CALLS, int(TASK_SECONDS / self._call_seconds)))

    def _begin_tasks(self, most: int) -> None:
        """Begin tasks for calls that wait, as far as Spark has room for them; the lock is held."""
        room = min(_MOST_TASKS, max(_FEWEST_TASKS, 2 * self._slots)) - self._tasks
        for _ in range(0 if self._ended else min(most, room)):
            self._tasks += 1
            self._threads.submit(self._run_tasks)

    def _run_tasks(self) -> None:
        """Run the calls that wait, a task at a time, until there are none."""
        while taken := self._take():
            self._run(taken)
            with suppress(Exception):  # Spark has ended, which the next task tells
                self._slots = task_slots(self.context, self._cores)  # a cluster grows
            with self._lock:
                self._begin_tasks(len(self._waiting))

    def _take(self) -> list[_Waiting]:
        """The calls of the next task."""
        with self._lock:
            most = min(self._calls_in_a_task(), max(self.threads, len(self._waiting) // self._slots))
            taken: list[_Waiting] = []
            while self._waiting and len(taken) < most:
                future, call = self._waiting.popleft()
                if future.running() or future.set_running_or_notify_cancel():  # it runs already if it waits again
                    taken.append((future, call))
            if not taken:
                self._tasks -= 1
            return taken

    def _run(self, taken: Sequence[_Waiting]) -> None:
        """Run calls in a task; each then has its outcome, or waits again."""
        try:
            name = f"segcct: {len(taken)} calls"
            self.context.setJobGroup(self.group, name, interruptOnCancel=True)  # of this thread
            task = partial(_called, self.group, Path.cwd(), self.threads)
            ((outcomes, seconds),) = self.context.parallelize([[call for _, call in taken]], 1).map(task).collect()
        except Exception as error:
            if self._canceled:
                _cancel(taken)
            elif len(taken) == 1:
                taken[0][0].set_exception(_died(error))
            else:
                for each in taken:  # only that which is to blame fails
                    self._run([each])
            return
        late = [waiting for waiting, outcome in zip(taken, outcomes, strict=True) if outcome is None]
        self._call_seconds = max(seconds / (len(taken) - len(late)), 1e-3)
        self._wait_again(late)
        for (future, _), outcome in zip(taken, outcomes, strict=True):
            if outcome is None:
                continue
            value, failure = outcome
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)

    def _wait_again(self, late: Sequence[_Waiting]) -> None:
        """Requeue, at the front, the calls that a task did not start."""
        with self._lock:
            canceled = self._canceled
            if not canceled:
                self._waiting.extendleft(reversed(late))
        if canceled:
            _cancel(late)


def task_cores(context: SparkContext) -> int:
    """Processor cores of a task, and threads of a network in it: Spark sets OMP_NUM_THREADS of workers to it."""
    return int(context.getConf().get("spark.task.cpus") or 1)


def task_slots(context: SparkContext, cores: int) -> int:
    """Tasks of so many cores that run at the same time on the executors that are there now."""
    return max(1, context.defaultParallelism // cores)


def _cancel(calls: Iterable[_Waiting]) -> None:
    for future, _ in calls:
        if not future.cancel():  # it runs
            future.set_exception(CancelledError())


def _called(
    group: str, folder: Path, threads: int, calls: Sequence[Callable[[], Any]]
) -> tuple[list[_Outcome | None], float]:
    """Value or exception of each call, for Spark would repeat a task that raises; None for those that there was no time
    for, never the first; and the seconds of all."""
    with suppress(OSError):
        os.chdir(folder)  # where relative paths begin
    start = time.monotonic()

    def outcome(place: int, call: Callable[[], Any]) -> _Outcome | None:
        return _outcome(call) if place == 0 or time.monotonic() - start < TASK_SECONDS else None

    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(outcome, range(len(calls)), calls))
    _keep_what_is_loaded(group)
    return outcomes, time.monotonic() - start


@cache
def _keep_what_is_loaded(group: str) -> None:  # noqa: ARG001 - once for each executor of the driver
    """PySpark collects garbage after every task; to look through torch and a network each time takes far longer than
    a task."""
    gc.collect()
    gc.freeze()


def _outcome(call: Callable[[], Any]) -> _Outcome:
    try:
        return call(), None
    except Exception as error:
        return None, error


_LAST_FAILURE = re.compile(r"most recent failure: .*?executor \S+\): (?:[\w.$]+: )?(.*?)(?:\. |\n|$)")
"""In Java's message: after which task, host and executor, and before advice for developers of Spark."""
_LAST_OF_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(?:[\w.]+: )?(.+)")
"""In the same message, where Python raised an exception while it read the task: what it said."""


def _died(error: Exception) -> WorkerError:
    message = ""
    with suppress(Exception):  # it asks Java, which may have ended
        java = getattr(error, "java_exception", None)
        message = str(error if java is None else java.getMessage()).strip()
    message = message or type(error).__name__
    cause = _LAST_OF_TRACEBACK.search(message) or _LAST_FAILURE.search(message)
    return WorkerError(
        "a task of Spark failed",
        found=message.splitlines()[0] if cause is None else cause[1],
        remedy="If its worker ran out of memory, give it more (spark.executor.memoryOverhead) or fewer cores",
    )
