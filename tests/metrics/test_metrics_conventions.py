"""Every convention for every combination of empty masks, with and without spacing."""

from __future__ import annotations

import numpy as np
import pytest

from segcct import metrics
from segcct.errors import MetricError
from segcct.metrics import MaskPair

SPACING = (1.0, 1.0, 2.0)
MAIN = ("dice", "iou", "hd95_mm", "hd95_vox", "nsd")
"""What each convention scores by its own rule."""
DIAGONAL = float(np.sqrt(20**2 + 20**2 + 40**2))


def scores(*values: float | None) -> dict[str, float | None]:
    """Of `MAIN`, in order; those that are not given are not scored."""
    return dict(zip(MAIN, (*values, *(None,) * (len(MAIN) - len(values))), strict=True))


def scored(convention: str, pair: MaskPair) -> dict[str, float | None]:
    """The scores of `MAIN` under a convention."""
    found = metrics.get_convention(convention)(pair)
    return {key: found[key] for key in MAIN}


def masks(status: str) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, reference) on 20 x 20 x 20; `ok`: 6x6x6 cubes, the prediction one voxel further along Z."""
    prediction, reference = np.zeros((2, 20, 20, 20), dtype=bool)
    if status in ("ok", "spurious"):
        prediction[5:11, 5:11, 6:12] = True
    if status in ("ok", "missed"):
        reference[5:11, 5:11, 5:11] = True
    return prediction, reference


# The table of the published tools: (status, convention) -> scores. Values of None are not scored.
EXPECTED = {
    ("missed", "default"): scores(0.0, 0.0, DIAGONAL, None, 0.0),
    ("spurious", "default"): scores(0.0, 0.0, DIAGONAL, None, 0.0),
    ("absent", "default"): scores(),
    ("missed", "transunet"): scores(0.0, 0.0, None, 0.0),
    ("spurious", "transunet"): scores(1.0, 1.0, None, 0.0),
    ("absent", "transunet"): scores(0.0, 0.0, None, 0.0),
    ("missed", "medpy"): scores(0.0, 0.0),
    ("spurious", "medpy"): scores(0.0, 0.0),
    ("absent", "medpy"): scores(),
    ("missed", "monai"): scores(0.0, 0.0),
    ("spurious", "monai"): scores(),
    ("absent", "monai"): scores(),
    ("missed", "surface-distance"): scores(0.0, 0.0, None, None, 0.0),
    ("spurious", "surface-distance"): scores(0.0, 0.0, None, None, 0.0),
    ("absent", "surface-distance"): scores(),
    ("missed", "brats2020"): scores(0.0, 0.0, 373.12866),
    ("spurious", "brats2020"): scores(0.0, 0.0, 373.12866),
    ("absent", "brats2020"): scores(1.0, 1.0, 0.0),
    ("missed", "brats2023"): scores(0.0, None, 374.0),
    ("spurious", "brats2023"): scores(0.0, None, 374.0),
    ("absent", "brats2023"): scores(1.0, None, 0.0),
}


def test_the_table_has_what_conventions_differ_in() -> None:
    of_conventions = [key for key, metric in metrics.all_metrics().items() if metric.by_convention]
    assert of_conventions == list(MAIN), "add the scores of a metric `by_convention` to EXPECTED, as each tool gives it"


@pytest.mark.parametrize(("status", "name"), EXPECTED)
def test_empty_masks(status: str, name: str) -> None:
    pair = MaskPair.of(*masks(status), SPACING)
    assert pair.status == status
    assert scored(name, pair) == EXPECTED[status, name]


@pytest.mark.parametrize("name", metrics.CONVENTIONS)
def test_every_convention_states_its_rules(name: str) -> None:
    words = metrics.CONVENTIONS[name].words([metrics.all_metrics()[key] for key in MAIN])
    assert set(words) >= {*MAIN, "absent", "one-sided"}
    assert all(words.values())
    assert {status for status, convention in EXPECTED if convention == name} == {"missed", "spurious", "absent"}


def test_scores_of_two_shifted_cubes() -> None:
    """Along Z the cubes share 5 of 6 layers; each has 152 border voxels. 100 lie in the other's border: the rings of
    five layers. The end face that reaches into the other cube: 12 voxels one step (1 mm) from its sides, 4 two steps
    or one layer (2 mm). The far end face: 36 voxels one layer (2 mm) out.
    """
    pair = MaskPair.of(*masks("ok"), SPACING, tolerance_mm=1.0)
    distances = pair.distances_mm
    assert distances is not None
    directed = sorted(distances.to_reference.tolist())
    assert directed == [0.0] * 100 + [1.0] * 12 + [2.0] * 40
    overlap = (5 / 6, 5 / 7)
    assert scored("default", pair) == scores(*overlap, 2.0, None, 112 / 152)
    assert scored("medpy", pair) == scores(*overlap, 2.0)
    assert scored("monai", pair) == scores(*overlap, 2.0)
    assert scored("brats2020", pair) == scores(*overlap, 2.0)
    assert scored("transunet", pair) == scores(*overlap, None, 1.0)
    assert scored("brats2023", pair) == scores(5 / 6, None, 2.0)


def test_pooled_and_directed_percentiles_differ() -> None:
    """A spur on one mask: 6 of its 102 border voxels stand off, so the directed 95th percentile sees it, the pooled
    one does not."""
    reference = np.zeros((30, 12, 12), dtype=bool)
    reference[2:6, 2:6, 2:10] = True
    prediction = reference.copy()
    prediction[6:12, 3, 3] = True
    pair = MaskPair.of(prediction, reference, (1, 1, 1))
    found = {name: metrics.get_convention(name)(pair)["hd95_mm"] for name in ("default", "monai", "medpy", "brats2020")}
    assert found["default"] == found["monai"] == pair.distances_mm.hausdorff(95)
    assert found["medpy"] == found["brats2020"] == pair.distances_mm.hausdorff(95, pooled=True)
    assert found["default"] > found["medpy"]


@pytest.mark.parametrize("name", ["default", "transunet", "medpy", "monai"])
def test_without_spacing_distances_are_in_voxels(name: str) -> None:
    found = metrics.get_convention(name)(MaskPair.of(*masks("ok")))
    assert found["hd95_mm"] is None
    assert found["nsd"] is None
    assert found["hd95_vox"] == 1.0


def test_without_spacing_a_missed_structure_gets_the_diagonal_in_voxels() -> None:
    found = scored("default", MaskPair.of(*masks("missed")))
    assert found == scores(0.0, 0.0, None, float(np.sqrt(1200)), None)


@pytest.mark.parametrize("name", ["surface-distance", "brats2020", "brats2023"])
def test_brats_conventions_refuse_images_without_spacing(name: str) -> None:
    with pytest.raises(MetricError, match=rf"convention {name} measures in mm.*Choose default"):
        metrics.get_convention(name)(MaskPair.of(*masks("ok")))


def test_a_lesion_in_an_image_of_one_slice_has_the_volume_of_its_voxels() -> None:
    """12 voxels of 1 x 1 x 5 mm are 60 mm3: brats2023 leaves out lesions up to 50."""
    reference = np.zeros((20, 20, 1), dtype=bool)
    reference[5:8, 5:9] = True
    found = metrics.get_convention("brats2023")(MaskPair.of(np.zeros_like(reference), reference, (1, 1, 5)))
    assert (found["dice"], found["hd95_mm"]) == (0.0, 374.0)
