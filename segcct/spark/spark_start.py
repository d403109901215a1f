"""Start Apache Spark, or join the one that runs: on this machine's cores, or as the driver of a cluster."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from segcct.errors import SegcctError, SparkError
from segcct.extras import import_extra
from segcct.hardware.processor import core_share
from segcct.spark.java_runtime import find_java

if TYPE_CHECKING:
    from pyspark import SparkContext

MASTERS = "local[2], spark://host:7077, yarn or k8s://https://host:443"
_SECONDS_TO_CONNECT = 10.0
_SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Set by spark-submit, whose Java and settings are then used."""
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java only passes cases on to Python: the network needs the cores that Java would optimize itself on for minutes."""
_PACKAGE = Path(__file__).parents[1]


@contextmanager
def spark_context(master: str | None = None, *, settings: Mapping[str, str] | None = None) -> Iterator[SparkContext]:
    """A running Spark: the one that this process has already, or a new one, which ends with the block.

    Args:
        master: where tasks run; default: as spark-submit says, else the cores of this machine.
        settings: further properties of Spark, such as `spark.task.cpus`.

    Raises:
        PackageError: pyspark or Java is not installed.
        SparkError: the master is unknown or does not answer, or another one is in use in this process.
    """
    pyspark = import_extra("pyspark", "spark")
    running = pyspark.SparkContext._active_spark_context
    if running is not None:
        if master not in (None, running.master):
            raise SparkError("this process runs Spark already", found=running.master, expected=master)
        yield running
        return
    if master is None and _SUBMITTED not in os.environ:
        master = f"local[{core_share()}]"
    if master is not None:
        _require_reachable(master)
    with tempfile.TemporaryDirectory(prefix="segcct-spark-") as folder:
        context = _started(pyspark, _configuration(pyspark, master, settings or {}), Path(folder))
        try:
            yield context
        finally:
            try:
                context.stop()
            except OSError:  # Java has ended before, and is forgotten now
                context.stop()


def is_local(master: str) -> bool:
    """Tasks run on this machine's own cores."""
    return master.startswith("local")


def _configuration(pyspark: Any, master: str | None, settings: Mapping[str, str]) -> Any:
    """Properties of Spark; workers import segcct from where the driver did, if that is a checkout."""
    conf = pyspark.SparkConf().setAppName("segcct")
    conf.set("spark.ui.showConsoleProgress", "false")
    if master is not None:
        conf.setMaster(master)
        if is_local(master):
            conf.set("spark.ui.enabled", "false")
        if is_local(master) or urlsplit(master).hostname in ("localhost", "127.0.0.1"):
            conf.set("spark.driver.host", "127.0.0.1")
            conf.set("spark.driver.bindAddress", "127.0.0.1")
    if _SUBMITTED not in os.environ:
        for role in ("driver", "executor"):
            conf.set(f"spark.{role}.extraJavaOptions", _JAVA_OPTIONS)
    if "site-packages" not in _PACKAGE.parts:
        paths = [str(_PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        conf.set("spark.executorEnv.PYTHONPATH", os.pathsep.join(paths))
    for key, value in settings.items():
        conf.set(key, value)
    return conf


def _started(pyspark: Any, conf: Any, folder: Path) -> SparkContext:
    """A new context. What Spark and its Java log goes to a file, whose end is in the error if they do not start."""
    log, gateway = folder / "spark.log", None
    try:
        if pyspark.SparkContext._gateway is None and _SUBMITTED not in os.environ:
            with log.open("wb") as stream, _environment(folder):
                launch_gateway = import_extra("pyspark.java_gateway", "spark").launch_gateway
                gateway = launch_gateway(conf, {"stdout": stream, "stderr": stream})
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")  # which is not used here
        context: SparkContext = pyspark.SparkContext(conf=conf, gateway=gateway)
        return context
    except SegcctError:
        raise
    except Exception as error:  # of Java in many kinds
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
        reason = _reason(error, lines)
        raise SparkError("Spark does not start", found=reason, expected=f"a master such as {MASTERS}") from error


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """JAVA_HOME for Spark's start; its workers run this Python, unless PYSPARK_PYTHON names another."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(find_java(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before


def _reason(error: Exception, lines: list[str]) -> str:
    """The one line that says most: of an exception of Java's, or of what was logged."""
    java = getattr(error, "java_exception", None)
    if java is not None:
        return str(java.getMessage())
    errors = [line for line in lines if "Exception" in line or "Error" in line]
    return (errors or lines or [str(error)])[0].strip()


def _require_reachable(master: str) -> None:
    """Raises `SparkError` at once for what is not a master, and for one of Spark's own that does not listen."""
    if not (is_local(master) or master == "yarn" or master.startswith(("spark://", "k8s://"))):
        raise SparkError("names no master of Spark", found=master, expected=MASTERS)
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):  # several of which one leads
        try:
            parts = urlsplit(f"//{address}")
            socket.create_connection((parts.hostname or "", parts.port or 7077), _SECONDS_TO_CONNECT).close()
            return
        except (OSError, ValueError) as error:
            problems.append(f"{address}: {error}")
    raise SparkError(
        "no master of Spark listens there",
        found="; ".join(problems),
        remedy="Start one, or name the URL that the page of the cluster shows",
    )
