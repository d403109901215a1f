"""The synthetic case of `toy_pair` in files NAME_ct.nii.gz and NAME_seg.nii.gz, and a segmenter of such folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from segcct.inference.predictor import Predictor
from tests.support.toy_pair import card, data_section, loaded_case, predictor


def write_paired(root: Path, names: Iterable[str]) -> Path:
    """Write a scan and its labels under each name."""
    root.mkdir(exist_ok=True)
    case = loaded_case()
    assert case.label is not None
    for name in names:
        case.grid.save(root / f"{name}_ct.nii.gz")
        case.grid.with_array(case.label).save(root / f"{name}_seg.nii.gz")
    return root


def paired_predictor(**fields: object) -> Predictor:
    """`predictor` for such a folder, with these fields in its model card."""
    data = data_section(layout="paired", channels={"ct": "{id}_ct.nii.gz"}, label="{id}_seg.nii.gz")
    plain = predictor()
    return Predictor(plain.network, card("segmentation", data, **fields), plain.how)
