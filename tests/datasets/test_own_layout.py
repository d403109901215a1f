"""A layout of another package: one file, found by entry point, works in every command."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.cli import main
from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout, layout_code, register_layout
from segcct.datasets.layouts.layout import Found, Layout
from segcct.errors import PluginError
from segcct.preparation.cache_key import cache_key
from tests.support.installed_package import install

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

SMALL = ("--model.name", "cct_unet_t", "--data.image_size", "32", "--data.fit", "resize", "--train.batch_size", "4",
         "--train.optimizer", "adamw", "--train.epochs", "1", "--train.slices_per_epoch", "4",
         "--run.name", "tiny")  # fmt: skip


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
def test_one_file_outside_the_package_is_a_layout_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, LAYOUTS, "plus_layout", LAYOUT_FILE, package="segcct-plus")
    monkeypatch.chdir(tmp_path)
    write_set(Path("set"))
    Path("flat").mkdir()
    for file in Path("set").glob("*truth.png"):
        (Path("flat") / file.name.replace("+truth", "")).write_bytes(file.read_bytes())

    def run(*words: str) -> str:
        assert main(words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    with pytest.raises(SystemExit):
        main(["train-seg", "--help"])
    assert "pictures, plus" in capsys.readouterr().out
    assert "names joined by a plus" in run("init", "set", "--output", "plus.yaml")
    assert "scheme: acdc" in Path("plus.yaml").read_text()
    assert "no problems found in" in run("check", "--config", "plus.yaml")
    assert main(["check", "--config", "plus.yaml", "--data.layout", "plsu"]) == 1
    assert "the nearest is 'plus'" in capsys.readouterr().err
    run("train-seg", "--config", "plus.yaml", *SMALL, "--dry-run")
    run("train-seg", "--config", "plus.yaml", *SMALL)
    run("predict", "--model", "runs/tiny/best", "--input", "set", "--output", "masks")
    masks = sorted(Path("masks").glob("*.png"))
    assert [mask.stem for mask in masks] == [f"eye{index}" for index in range(8)]
    with Image.open(masks[0]) as mask:
        assert mask.mode == "P"
    run("evaluate", "--prediction", "masks", "--reference", "set", "--output", "scores")
    assert Path("scores/summary.json").is_file()
    of_layout = ("--layout", "plus", "--scheme", "acdc")
    run("evaluate", "--prediction", "flat", "--reference", "set", *of_layout, "--output", "scores_of_flat")
    assert Path("scores_of_flat/summary.json").is_file()


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


def test_a_layout_typed_in_again_is_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cell of a notebook, which no file holds."""
    monkeypatch.setattr(LAYOUTS, "_added", dict(LAYOUTS._added))
    codes = []
    for shift in (1, 1, 2):
        names: dict[str, object] = {"__name__": "__main__"}
        exec(f"def read(file, data):\n    return file + {shift}", names)
        typed = replace(get_layout("brats"), name="typed", read_image=names["read"])
        monkeypatch.setitem(LAYOUTS._added, "typed", typed)
        codes.append(layout_code("typed"))
    assert codes[0] == codes[1] != codes[2]


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
        with pytest.raises(PluginError, match=f"there is a layout '{name}' already"):
            register_layout(Layout(name, find, lambda _: ""))
