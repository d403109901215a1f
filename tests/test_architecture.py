"""The order of imports, read from the syntax trees: change it here, on purpose, or not at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "segcct"

LEVELS = [
    {"version", "errors", "escape", "progress", "lock", "file_names", "plurals"},
    {"hardware", "atomic_file", "private", "small_file", "json_file", "table_file"},
    {"config", "settings", "images", "volume", "itk", "dicom"},
    {"data", "models", "metrics", "figures"},
    {"runs"},
    {"inference"},
    {"training", "evaluation"},
    {"report", "doctor", "demo"},
    {"commands"},
    {"cli"},
]
APART = [{"data", "models", "metrics", "figures"}, {"training", "evaluation"}]
"""Rooms on one level that must not import each other."""

HEAVY = {
    "monai": {"training"},
    "pytorch_lightning": {"training"},
    "torch": {"hardware", "data", "models", "runs", "inference", "training"},
    "SimpleITK": {"volume", "itk", "dicom"},
    "nilearn": {"data"},
}
"""Package -> the only rooms that may import it."""


def room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
LEVEL_OF = {name: number for number, level in enumerate(LEVELS) for name in level}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    here = room(path)
    for module in imports(path):
        if not module.startswith("segcct."):
            continue
        there = module.split(".")[1]
        assert LEVEL_OF[there] <= LEVEL_OF[here], f"{here} imports {there}, which lies above it"
        if there != here:
            assert not any({here, there} <= apart for apart in APART), f"{here} and {there} must not import each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    for module in imports(path):
        package = module.split(".")[0]
        if package in HEAVY:
            assert room(path) in HEAVY[package], f"{room(path)} imports {package}"


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import segcct.cli", ["torch", "numpy", "pydantic", "yaml"]),
        ("import segcct.inference.folder", ["monai", "pytorch_lightning", "albumentations", "matplotlib"]),
        ("import segcct.metrics", ["torch"]),
        ("import segcct.volume", ["SimpleITK", "torch"]),
    ],
)
def test_a_door_costs_only_what_it_needs(statement, forbidden):
    program = f"import sys; {statement}; print([name for name in {forbidden!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True).stdout
    assert loaded.strip() == "[]"


def test_no_drawers_without_a_name():
    assert not [path for path in FILES if path.stem in {"utils", "common", "helpers", "misc"}]


@pytest.mark.parametrize(
    ("call", "places"),
    [
        ("Image.open(", {"images/raster.py"}),
        ("h5py.File(", {"images/hdf5.py"}),
        ("np.load(", {"data/cache.py"}),
        ("nib.load(", set()),
        ("allow_pickle=True", set()),
    ],
)
def test_a_format_is_opened_in_one_place(call, places):
    """Where it is checked what a file may be; elsewhere nobody would."""
    found = {str(path.relative_to(PACKAGE)) for path in FILES if call in path.read_text(encoding="utf-8")}
    assert found <= places
