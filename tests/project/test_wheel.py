"""The wheel works without the checkout: it holds every file of the package, and commands run from it alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.documents import ROOT

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
NOT_SHIPPED = {".pyc"}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that the checkout gets no build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "segcct", folder / "segcct", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, "dist"], cwd=folder, check=True, capture_output=True)
    (file,) = (folder / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of site-packages."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, folder: Path, *words: str) -> str:
    """What a command prints that runs from the wheel, in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    words = (sys.executable, *words)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("segcct/")}
    files = {path for path in (ROOT / "segcct").rglob("*") if path.is_file() and path.suffix not in NOT_SHIPPED}
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.slow
def test_commands_run_from_the_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "-m", "segcct.cli", "phantom", "acdc", "scans", "--cases", "2", "--reduce", "8")
    run(installed, tmp_path, "-m", "segcct.cli", "init", "scans")
    assert (tmp_path / "configs" / "scans.yaml").is_file()
    program = (
        "import segcct; from segcct.demo.walkthrough import Places, prepare; "
        "print(segcct.__file__); print(len(prepare(Places())))"
    )
    place, steps = run(installed, tmp_path, "-c", program).splitlines()
    assert Path(place) == installed / "segcct" / "__init__.py"
    assert int(steps) > 5
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "demo_reconstruction.yaml",
        "demo_segmentation.yaml",
    ]


def test_the_container_gets_what_the_wheel_is_built_from() -> None:
    copied = {name for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")
              for name in line.split()[1:-1]}  # fmt: skip
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_through == {*SOURCES, "segcct"}
