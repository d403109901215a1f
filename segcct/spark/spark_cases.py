"""The loop over cases on Spark: a backend of `run_cases`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from segcct.case_runner import Backend, Call, CaseOutcome, pooled
from segcct.spark.spark_executor import SparkExecutor
from segcct.spark.spark_start import spark_context

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass(frozen=True)
class SparkEngine:
    """Where cases are processed: `--engine spark`."""

    master: str | None = None
    """See `spark_context`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Properties of Spark."""


@contextmanager
def case_backend(engine: SparkEngine | None) -> Iterator[Backend | None]:
    """What runs the cases of `run_cases` in Spark, which is started or joined; None where there is no engine."""
    if engine is None:
        yield None
        return
    with spark_context(engine.master, settings=engine.settings) as context:
        yield partial(_in_spark, context)


def _in_spark(context: SparkContext, calls: Iterable[Call], _: int) -> Iterator[CaseOutcome[Any]]:
    pool = SparkExecutor(context)
    return pooled(calls, pool, pool.room)
