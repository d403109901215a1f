"""The lines of docs/how-to/convert-masks.md restore masks in colors, masks stored as JPEG and masks with blurred edges,
and the messages that refuse such masks name the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.check.dataset_check import examine_dataset
from segcct.errors import CONVERTING_MASKS
from segcct.init.folder_inspection import inspect_folder
from tests.support.documents import ROOT, blocks

CLASSES = np.zeros((48, 64), dtype=np.uint8)
CLASSES[8:40, 6:26], CLASSES[8:40, 38:58] = 1, 2
COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], dtype=np.uint8)


def _smooth(mask: Image.Image) -> Image.Image:
    return mask.resize((256, 192), Image.Resampling.BICUBIC).resize((64, 48), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("ending", "smooth"), [("png", False), ("jpg", False), ("png", True)])
def test_masks_in_colors_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, smooth: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(lambda classes: Image.fromarray(COLORS[classes]), ending, smooth=smooth)
    problems = examine_dataset(inspect_folder("my_scans").data).problems
    assert [problem.what for problem in problems] == ["a mask in colors"] * 8
    assert CONVERTING_MASKS in str(problems[0].remedy)
    convert, show = blocks(ROOT / CONVERTING_MASKS, "python")[:2]
    names: dict[str, object] = {}
    exec(convert.text, names)
    exec(show.text, names)
    restored = np.asarray(Image.open("converted_masks/0.png"))
    assert (restored == CLASSES).all() if ending == "png" else (restored == CLASSES).mean() > 0.98
    Path("my_scans/masks").rename("old")
    Path("converted_masks").rename("my_scans/masks")
    data = inspect_folder("my_scans").data
    assert data.labels == {"class_1": 1, "class_2": 2}
    assert examine_dataset(data).problems == []


def test_gray_masks_stored_as_jpeg_are_errors_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(lambda classes: Image.fromarray((classes == 1).astype(np.uint8) * 255), "jpg")
    findings = inspect_folder("my_scans")
    assert any("JPEG changes the values" in doubt and CONVERTING_MASKS in doubt for doubt in findings.doubts)
    problems = examine_dataset(findings.data).problems
    assert {problem.what for problem in problems} == {"label values outside scheme binary"}
    assert all("JPEG" in str(problem.remedy) and CONVERTING_MASKS in str(problem.remedy) for problem in problems)
    convert = blocks(ROOT / CONVERTING_MASKS, "python")[0].text
    exec(convert.replace("(255, 0, 0): 1, (0, 255, 0): 2", "(255, 255, 255): 1"), {})
    assert (np.asarray(Image.open("converted_masks/0.png")) == (CLASSES == 1)).all()


def test_rare_values_of_smoothed_masks_are_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _dataset(lambda classes: Image.fromarray((classes == 1).astype(np.uint8) * 255), "png", smooth=True)
    assert any(
        "label values are rare" in doubt and CONVERTING_MASKS in doubt for doubt in inspect_folder("my_scans").doubts
    )


def test_small_classes_are_no_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes = CLASSES.copy()
    classes[0, :3] = 3, 4, 5
    _dataset(lambda _: Image.fromarray(classes), "png")
    assert not any("rare" in doubt for doubt in inspect_folder("my_scans").doubts)


def _dataset(mask_of: Callable[[np.ndarray], Image.Image], ending: str, *, smooth: bool = False) -> None:
    for folder in ("images", "masks"):
        Path("my_scans", folder).mkdir(parents=True)
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, CLASSES.shape, dtype=np.uint8)
        Image.fromarray(noise).save(f"my_scans/images/{number}.png")
        mask = mask_of(CLASSES)
        (_smooth(mask) if smooth else mask).save(f"my_scans/masks/{number}.{ending}")
