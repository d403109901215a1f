"""One Spark for all tests of this folder, which are skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from segcct.cli import main
from segcct.errors import PackageError
from segcct.spark.java_runtime import find_java
from segcct.spark.spark_start import spark_context
from tests.support.spark_commands import predict_command

if TYPE_CHECKING:
    from pyspark import SparkContext


@pytest.fixture(scope="session")
def spark_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: pip install 'segcct[spark]'")
    try:
        find_java(tmp_path_factory.mktemp("java"))
    except PackageError as error:
        if "CI" in os.environ:  # where these tests are to run
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def spark(spark_installed: None) -> Iterator[SparkContext]:
    """Two workers on this machine."""
    with spark_context("local[2]") as context:
        yield context


@pytest.fixture(scope="session")
def scans(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the cases."""
    root = tmp_path_factory.mktemp("scans")
    for case in sorted(path for path in phantom.iterdir() if path.is_dir())[:4]:
        shutil.copytree(case, root / case.name)
    return root


@pytest.fixture(scope="session")
def here(trained: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their masks by one process."""
    output = tmp_path_factory.mktemp("here") / "masks"
    assert main(predict_command(trained, scans, output)) == 0
    return output


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They run in one process and among the slow ones, as a Spark takes seconds to start."""
    for item in items:
        if Path(__file__).parent in item.path.parents and {"spark", "here"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("spark"))
