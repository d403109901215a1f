"""The loop over cases on Spark: a backend of `run_cases`."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcct.case_runner import Calls, CaseOutcome, pooled
from segcct.spark.spark_executor import SparkExecutor, task_cores, task_slots
from segcct.spark.spark_start import is_local, spark_context
from segcct.spark.spark_worker import SENT

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass
class SparkEngine:
    """Where cases are processed: `--engine spark`."""

    master: str | None = None
    """See `spark_context`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Properties of Spark."""
    _starting: Future[SparkContext] | None = field(default=None, init=False, compare=False)
    _running: ExitStack = field(default_factory=ExitStack, init=False, compare=False)
    """Ends the Spark that `begin` starts."""

    def begin(self) -> SparkEngine:
        """Start Spark in a thread, while this one imports what the network needs; `context` raises its errors."""
        pool = ThreadPoolExecutor(1)
        self._starting = pool.submit(self._running.enter_context, spark_context(self.master, settings=self.settings))
        pool.shutdown(wait=False)  # its thread ends once Spark has started
        return self

    @contextmanager
    def context(self) -> Iterator[SparkContext]:
        """The running Spark; one that was started here ends with the block."""
        if self._starting is None:
            self.begin()
        assert self._starting is not None
        context = self._starting.result()
        try:
            with self._running:
                yield context
        finally:
            self._starting = None


@dataclass(frozen=True)
class SparkBackend:
    """Runs the cases of `run_cases` in tasks of Spark."""

    context: SparkContext

    def __call__(self, calls: Calls, workers: int) -> Iterator[CaseOutcome[Any]]:
        """Outcomes in order, of as many tasks at a time as Spark has room for, with `workers` threads in each."""
        pool = SparkExecutor(self.context, threads=workers)
        return pooled(calls, pool, pool.room)

    @property
    def workers(self) -> int:
        """Tasks that run at a time now."""
        return task_slots(self.context, self.cores)

    @property
    def cores(self) -> int:
        """Of a task."""
        return task_cores(self.context)

    def send(self, folders: Iterable[Path]) -> tuple[Path, ...]:
        """Copies of small folders, such as a model's, for every machine of the cluster, each sent once; `received`
        finds them there. On this machine's own cores the folders are what they were."""
        if is_local(str(self.context.master)):
            return tuple(folders)
        return tuple(SENT / self._sent(folder) for folder in folders)

    def _sent(self, folder: Path) -> str:
        """The name of the copy, which is that of its content; a file, such as an exported model, lies in a folder of
        that name."""
        if folder.is_file():
            with tempfile.TemporaryDirectory() as alone:
                shutil.copyfile(folder, Path(alone) / folder.name)
                return f"{self._sent(Path(alone))}/{folder.name}"
        digest = hashlib.sha256()
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
        name = f"model-{digest.hexdigest()[:16]}"
        archive = Path(self.context._temp_dir) / f"{name}.zip"  # which is there as long as this Spark
        if not archive.exists():
            shutil.make_archive(str(archive.with_suffix("")), "zip", folder)
            self.context.addArchive(f"{archive}#{name}")
        return name


@contextmanager
def case_backend(engine: SparkEngine | None) -> Iterator[SparkBackend | None]:
    """What runs the cases of `run_cases` in Spark, which is started or joined; None where there is no engine."""
    if engine is None:
        yield None
        return
    with engine.context() as context:
        yield SparkBackend(context)
