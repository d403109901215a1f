"""Clusters of a cohort on Spark: the bytes of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from segcct.cli import main
from segcct.images.volume import Volume

if TYPE_CHECKING:
    from pyspark import SparkContext


@pytest.mark.parametrize("channels", [["t1"], ["t1", "t2"]], ids=len)
def test_centers_and_masks_are_those_of_one_process(spark: SparkContext, tmp_path: Path, channels: list[str]) -> None:
    for seed in range(3):
        for name in channels:
            rng = np.random.default_rng([seed, len(name), ord(name[1])])
            voxels = np.rint(rng.choice([20, 60, 120], (12, 10, 4)) + rng.normal(0, 4, (12, 10, 4))).astype(np.int16)
            Volume(voxels, np.eye(4), (1.0, 1.0, 1.0)).save(tmp_path / "scans" / f"c{seed}" / f"{name}.nii.gz")
    given = ["cluster-segment", "--input", str(tmp_path / "scans"), "--centers", "cohort", "--tolerance", "0.01"]
    for name, engine in {"here": [], "spark": ["--engine", "spark"]}.items():
        assert main([*given, "--output", str(tmp_path / name), *engine]) == 0
    here, there = (json.loads((tmp_path / name / "centers.json").read_text()) for name in ("here", "spark"))
    assert here["centers"] == there["centers"]
    assert here["objectives"] == there["objectives"]
    for seed in range(3):
        masks = [(tmp_path / name / f"c{seed}.nii.gz").read_bytes() for name in ("here", "spark")]
        assert masks[0] == masks[1]
