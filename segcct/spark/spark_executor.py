"""Calls that run in Spark, behind the interface of `concurrent.futures`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from segcct.spark.spark_start import SparkError

if TYPE_CHECKING:
    from pyspark import SparkContext

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
_FEWEST_WAITING = 16
"""Tasks that wait in Spark's own queue, at least, so that a cluster can grow."""


class SparkExecutor(Executor):
    """Runs each call as a task of Spark, retried by Spark where its worker dies.

    Functions, arguments and results travel by pickle; an exception of the function is raised by its future.

    Args:
        context: a running Spark.
    """

    def __init__(self, context: SparkContext) -> None:
        self.context = context
        self._group = f"segcct-{uuid.uuid4().hex[:8]}"
        self._threads = ThreadPoolExecutor(max(_FEWEST_WAITING, 2 * task_slots(context)))

    def submit(
        self, function: Callable[Parameters, Value], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Value]:
        """The future of one call."""
        return self._threads.submit(self._run, function, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls; `cancel_futures` also ends those that run."""
        if cancel_futures:
            self.context.cancelJobGroup(self._group)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _run(self, function: Callable[..., Value], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        self.context.setJobGroup(self._group, "segcct", interruptOnCancel=True)  # of this thread
        try:
            ((value, error),) = self.context.parallelize([(function, args, kwargs)], 1).map(_called).collect()
        except Exception as error:  # Java's, of which only the cause is told
            raise SparkError("a task of Spark failed", found=_cause(error)) from error
        if error is not None:
            raise error
        return cast(Value, value)


def task_slots(context: SparkContext) -> int:
    """Tasks that run at the same time on the executors that are there now."""
    return max(1, context.defaultParallelism // int(context.getConf().get("spark.task.cpus", "1")))


def _called(call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> tuple[Any, Exception | None]:
    """Value or exception: Spark would repeat a task that raises."""
    function, args, kwargs = call
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error


def _cause(error: Exception) -> str:
    java = getattr(error, "java_exception", None)
    return str(error if java is None else java.getMessage()).strip().splitlines()[0]
