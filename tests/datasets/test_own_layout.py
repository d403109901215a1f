"""A layout of another package: one file, found by entry point, works in every command."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout, layout_code, register_layout
from segcct.datasets.layouts.layout import Found, Layout
from segcct.preparation.cache_key import cache_key

LAYOUT_FILE = '''
"""ROOT/anything+photo.png and anything+truth.png."""
from segcct.datasets.case import Case
from segcct.datasets.layouts import images_2d, register_layout
from segcct.datasets.layouts.layout import Found, Layout, Naming

def find(data, tree):
    found = Found()
    first = next(iter(data.channels.values()))
    for name in tree.files():
        case, plus, end = name.partition("+")
        if end == first:
            channels = {channel: (data.root / f"{case}+{end}",) for channel, end in data.channels.items()}
            label = data.root / f"{case}+{data.label}"
            found.cases.append(Case(case, case, channels, (label,) if label.exists() else None))
    return found

def example(data):
    return f"{data.root}/CASE+photo.png"

def recognize(root, names):
    if any(name.endswith("+photo.png") for name in names):
        return Naming("plus", {"photo": "photo.png"}, "truth.png", "names joined by a plus", scheme="acdc")

LAYOUT = Layout("plus", find, example, recognize, read_image=images_2d.read_image, read_mask=images_2d.read_mask,
                has_geometry=False, spatial_dims=2, mask_format="image", label_patterns=("truth.png",))
register_layout(LAYOUT)
'''

PROGRAM = """
import sys
from segcct.cli import main
def run(*words):
    print("$", *words, flush=True)
    try:
        print("exit", main([str(word) for word in words]), flush=True)
    except SystemExit as end:
        print("exit", end.code, flush=True)
run("train-seg", "--help")
run("init", "set", "--output", "plus.yaml")
run("check", "--config", "plus.yaml")
run("check", "--config", "plus.yaml", "--data.layout", "plsu")
small = ("--model.name", "unet", "--data.image_size", 32, "--data.fit", "resize", "--train.batch_size", 4,
         "--train.epochs", 1, "--train.slices_per_epoch", 4, "--run.name", "tiny")
run("train-seg", "--config", "plus.yaml", *small, "--dry-run")
run("train-seg", "--config", "plus.yaml", *small)
run("predict", "--model", "runs/tiny/best", "--input", "set", "--output", "masks")
run("evaluate", "--prediction", "masks", "--reference", "set", "--output", "scores")
run("evaluate", "--prediction", "flat", "--reference", "set", "--layout", "plus", "--scheme", "acdc", "--output", "s2")
"""


def write_set(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        label = np.zeros((40, 40), np.uint8)
        for value in (1, 2, 3):
            label[4 * value + index : 4 * value + index + 8, 8 * value : 8 * value + 8] = value
        image = (60 * label + rng.integers(0, 20, label.shape)).astype(np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"eye{index}+photo.png")
        Image.fromarray(label).save(folder / f"eye{index}+truth.png")


@pytest.mark.slow
def test_one_file_outside_the_package_is_a_layout_everywhere(tmp_path: Path) -> None:
    (tmp_path / "plus_layout.py").write_text(LAYOUT_FILE)
    package = tmp_path / "segcct_plus-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: segcct-plus\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[segcct.layouts]\nplus = plus_layout\n")
    write_set(tmp_path / "set")
    (tmp_path / "flat").mkdir()
    for file in (tmp_path / "set").glob("*truth.png"):
        (tmp_path / "flat" / file.name.replace("+truth", "")).write_bytes(file.read_bytes())
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-3000:]
    steps = dict(zip(("help", "init", "check", "typo", "dry", "train", "predict", "evaluate", "flat"),
                     ran.stdout.split("$ ")[1:], strict=True))  # fmt: skip
    told = ran.stdout + ran.stderr
    assert {name: step.split("exit ")[1][0] for name, step in steps.items()} == dict.fromkeys(steps, "0") | {
        "typo": "1"
    }, told
    assert "pictures, plus" in steps["help"]
    assert "names joined by a plus" in steps["init"]
    assert "scheme: acdc" in (tmp_path / "plus.yaml").read_text()
    assert "no problems found in" in steps["check"]
    assert "the nearest is 'plus'" in ran.stderr
    masks = sorted((tmp_path / "masks").glob("*.png"))
    assert [mask.stem for mask in masks] == [f"eye{index}" for index in range(8)]
    with Image.open(masks[0]) as mask:
        assert mask.mode == "P"
    assert (tmp_path / "scores" / "summary.json").is_file()
    assert (tmp_path / "s2" / "summary.json").is_file()


def test_what_another_version_of_a_layout_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "set")
    keys, kinds = [], []
    for number, text in enumerate((LAYOUT_FILE, LAYOUT_FILE, LAYOUT_FILE + "# reads otherwise")):
        monkeypatch.setattr(LAYOUTS, "_added", {})
        file = tmp_path / f"version{number}" / "plus_layout.py"
        file.parent.mkdir()
        file.write_text(text)
        spec = importlib.util.spec_from_file_location("plus_layout", file)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        data = DataSection(
            layout="plus", root=tmp_path / "set", channels={"photo": "photo.png"}, label="truth.png", scheme="acdc"
        )
        inventory = Inventory(data)
        case = inventory.cases[0]
        keys.append(cache_key(case, data, inventory.scheme))
        inventory.header(case.channels["photo"][0], "photo.png")
        kinds.append({kind for _, values in inventory.memo._values.values() for kind in values})
    assert keys[0] == keys[1] != keys[2]
    assert kinds[0] == kinds[1] != kinds[2]
    assert {layout_code(name) for name in LAYOUTS if name not in LAYOUTS.registered} == {""}


def test_a_registered_layout_is_a_name_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LAYOUTS, "_added", dict(LAYOUTS._added))

    def find(data: DataSection, tree: FolderTree) -> Found:
        return Found()

    mine = Layout("mine", find, lambda data: f"{data.root}/whatever", find_loose=None)
    register_layout(mine)
    register_layout(mine)
    data = DataSection(layout="mine", root=tmp_path, channels={"a": "b"}, scheme="binary")
    assert get_layout(data.layout) is mine
    with pytest.raises(Exception, match="whatever"):
        find_cases(data)
    for name in ("mine", "brats"):
        with pytest.raises(ValueError, match=f"there is a layout '{name}' already"):
            register_layout(Layout(name, find, lambda _: ""))
