"""The order of imports, read from the syntax trees: change it here, on purpose, or not at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "segcct"

LEVELS = [
    {"version", "errors", "escape", "progress", "plurals", "plugins", "extras", "option_types", "runtime"},
    {"files", "provenance", "hub"},
    {"hardware"},
    {"case_runner"},
    {"config", "images", "spark"},
    {"metrics", "figures", "models", "datasets"},
    {"phantom", "preparation", "model_card"},
    {"check", "run_folder", "export"},
    {"inference"},
    {"predictions"},
    {"training", "evaluation", "quality"},
    {"report"},
    {"comparison", "tasks"},
    {"init", "environment", "demo", "sharing", "api"},
    {"cluster"},
    {"commands"},
    {"cli"},
]
"""The packages from the bottom up. One imports those below it; on a level, only errors are used by their neighbors."""
NEIGHBORS = {("errors", "escape"), ("progress", "escape"), ("plugins", "errors"), ("extras", "errors")}

LARGEST = 0.15
"""Most of the lines that one package may hold."""

HEAVY = {
    "monai": {"tasks", "models", "inference"},
    "pytorch_lightning": {"training"},
    "torch": {
        "hardware",
        "models",
        "preparation",
        "model_card",
        "run_folder",
        "export",
        "inference",
        "quality",
        "training",
        "comparison",
        "tasks",
        "sharing",
        "cluster",
    },
    "SimpleITK": {"images"},
    "pyspark": {"spark"},
    "nilearn": {"phantom"},
}
"""Package -> the only packages of ours that may import it."""


def package_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


@cache
def import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(path: Path) -> list[str]:
    found = []
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
LEVEL_OF = {name: number for number, level in enumerate(LEVELS) for name in level}


def test_imports_run_downwards():
    wrong = []
    for path in FILES:
        here = package_of(path)
        for module in imports(path):
            if module.startswith("segcct."):
                there = module.split(".")[1]
                below = LEVEL_OF[there] < LEVEL_OF[here] or there == here or (here, there) in NEIGHBORS
                wrong += [] if below else [f"{path}: {here} imports {there}, which is not below it"]
    assert wrong == []


def test_heavy_packages_are_imported_only_where_allowed():
    heavy = [(path, package) for path in FILES for package in {name.split(".")[0] for name in imports(path)} & {*HEAVY}]
    assert [f"{path} imports {package}" for path, package in heavy if package_of(path) not in HEAVY[package]] == []


ENTRY_POINTS = [
    [
        ("import segcct.cli; segcct.cli.build_parser().format_help()", ["torch", "numpy", "pydantic", "yaml"]),
        ("import segcct.hub", ["huggingface_hub"]),
        ("import segcct.images.volume", ["SimpleITK", "torch"]),
        ("import segcct.metrics", ["torch"]),
        ("import segcct.evaluation.evaluate_folders, segcct.report.segmentation_page", ["torch"]),
        ("import segcct.tasks.task_files, segcct.tasks.segmentation.mask_commands", ["torch"]),
    ],
    [
        (
            "import segcct.tasks.segmentation.mask_commands, segcct.tasks.segmentation.mask_prediction",
            [
                "monai",
                "pytorch_lightning",
                "albumentations",
                "matplotlib",
                "tensorboard",
                "SimpleITK",
                "sklearn",
                "timm",
                "segcct.metrics",
                "scipy.special",
            ],
        ),
    ],
]
"""Of a process each: statements in their order, and what none of them up to there may have loaded."""


@pytest.mark.parametrize("statements", ENTRY_POINTS, ids=["without PyTorch", "predict"])
def test_an_entry_point_loads_only_what_it_needs(statements):
    program = f"import sys\nfor statement, forbidden in {statements!r}:\n    exec(statement)\n"
    program += "    print(statement, [name for name in forbidden if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True).stdout
    assert loaded.splitlines() == [f"{statement} []" for statement, _ in statements]


def test_no_file_has_a_name_that_says_nothing():
    assert not [path for path in FILES if path.stem in {"utils", "common", "helpers", "misc"}]


@pytest.mark.parametrize(
    ("call", "places"),
    [
        ("Image.open(", {"images/raster.py"}),
        ("h5py.File(", {"images/hdf5_reader.py"}),
        ("np.load(", {"preparation/cache.py"}),
        ("nib.load(", {"runtime.py"}),
        ("allow_pickle=True", set()),
    ],
)
def test_a_format_is_opened_in_one_place(call, places):
    """Where it is checked what a file may be; elsewhere nobody would."""
    found = {str(path.relative_to(PACKAGE)) for path in FILES if call in path.read_text(encoding="utf-8")}
    assert found <= places


def test_no_module_imports_itself_by_way_of_others():
    """Neither when it is loaded nor later, when one of its functions is called."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {}
    for name, path in names.items():
        imported = set()
        for node in import_statements(path):
            if isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= {each if each in names else str(node.module) for each in whole}
        graph[name] = imported & names.keys() - {name}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_imports_inside_functions_name_modules_that_are_there():
    root = PACKAGE.parent
    missing = []
    for folder in ("segcct", "tests", "benchmarks", "scripts", "docs"):
        for path in (root / folder).rglob("*.py"):
            for name in imports(path):
                module = root.joinpath(*name.split("."))
                if name.startswith("segcct.") and not (module.is_dir() or module.with_suffix(".py").is_file()):
                    missing.append(f"{path.relative_to(root)}: {name}")
    assert missing == []


def test_no_package_holds_more_than_a_seventh_of_the_code():
    lines = Counter({package_of(path): 0 for path in FILES})
    for path in FILES:
        lines[package_of(path)] += path.read_text(encoding="utf-8").count("\n")
    name, most = lines.most_common(1)[0]
    assert most <= LARGEST * lines.total(), f"{name} holds {most} of {lines.total()} lines"


PAIRS = {"acdc", "brats", "synapse"}
"""A layout and the phantom that is written in it."""


def test_no_two_files_share_a_name():
    names = Counter(path.stem for path in FILES if path.stem not in {"__init__", *PAIRS})
    names.update(path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("_"))
    assert [name for name, count in names.items() if count > 1] == []
