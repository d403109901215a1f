"""Python blocks of the documentation run, page by page, on a synthetic case and untrained models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from segcct.config import ReconstructionConfig, SegmentationConfig, settings
from segcct.models.zoo import create_model
from segcct.phantom import write_phantom
from tests.support.documents import ROOT, blocks, pages
from tests.support.untrained import save_untrained


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with what the Python blocks speak of: scans, masks, models, released weights."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom("acdc", folder / "data" / "acdc", 7, seed=0, reduce=8)
    shutil.copytree(ROOT / "configs", folder / "configs")
    for config in (folder / "configs").glob("acdc_*.yaml"):  # at 1.5 mm, networks would see 60 times as many pixels
        text = config.read_text(encoding="utf-8").replace("spacing_mm: 1.5", "spacing_mm: null")
        config.write_text(text, encoding="utf-8")
    frame = next((folder / "data" / "acdc").rglob("*_frame01.nii.gz"))
    shutil.copy(frame, folder / "scan.nii.gz")
    case = folder / "my_scans" / "patient_01"
    case.mkdir(parents=True)
    for channel in ("flair", "t1c"):
        shutil.copy(frame, case / f"{channel}.nii.gz")
    small = {"data.image_size": 32, "data.root": "data/acdc"}
    i2m, m2i = (folder / "configs" / f"acdc_{name}.yaml" for name in ("cct_unet", "m2i"))
    save_untrained(folder / "runs/acdc_cct_unet/best", "cct_unet_t", settings.load(SegmentationConfig, i2m, small).data)
    save_untrained(folder / "runs/acdc_m2i/best", "m2i_s", settings.load(ReconstructionConfig, m2i, small).data)
    two = {"data.image_size": 32, "data.channels": {"flair": "flair.nii.gz", "t1c": "t1c.nii.gz"}}
    two |= {"data.layout": "folder", "data.label": "mask.nii.gz"}
    save_untrained(folder / "runs/my_scans/best", "cct_unet_t", settings.load(SegmentationConfig, i2m, two).data)
    released = create_model("cct_7_3x1_32", 3, 10, 32)
    torch.save(released.state_dict(), folder / "cct_7_3x1_cifar10.pth")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in pages() if blocks(page, "python") and page.name != "extend.md"],  # see test_docs_extend.py
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_blocks_run(page: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    names: dict[str, object] = {"__name__": "documentation"}
    for block in blocks(page, "python"):
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
