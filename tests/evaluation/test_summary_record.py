"""summary.json as a record: what is written is read back, and other types are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from segcct.errors import EvaluationError
from segcct.evaluation.summary_record import PairedSummary, SegmentationSummary, seen_sentence

FILE = Path("summary.json")
STATS = {"mean": 0.8, "sd": 0.1, "median": 0.8, "q25": 0.7, "q75": 0.9, "ci95": [0.7, 0.9], "n": 3}
COUNTS = {"ok": 2, "missed": 1, "spurious": 0, "absent": 0}
CONTENT = {
    "task": "segmentation",
    "convention": "default",
    "scheme": "acdc",
    "labels": {"LV": 3},
    "regions": {"heart": [1, 2, 3]},
    "units": {"dice": "1"},
    "definitions": {"dice": "overlap"},
    "tolerance_mm": 2.0,
    "cases": 3,
    "patients": 3,
    "overall": {"dice": STATS},
    "classes": {"LV": {"dice": STATS, "counts": COUNTS}, "heart": {"dice": STATS, "counts": COUNTS}},
    "case_dice": {"a": 0.8, "b": None},
    "unmatched": {"predictions": [], "references": []},
    "seen": {"train": ["a", "b"], "val": []},
    "synthetic": [],
    "synthetic_training": False,
    "edited": [],
    "digests": {"a": {"prediction": "1f", "reference": "2f"}},
    "weights_sha256": None,
    "model": {"architecture": {"name": "cct_unet_s"}, "selected_on": None, "provenance": {"torch": "2.6"}},
    "data": None,
    "files": {"a": {"prediction": "p/a.nii.gz", "reference": ["r/1.png", "r/2.png"], "channels": {"ct": ["i.nii.gz"]}}},
    "provenance": {"segcct": "0.1.0"},
    "label_map": {"pixel_accuracy": STATS, "background": STATS, "definitions": {}, "unit": "1"},
    "of a later version": 1,
}


def test_what_is_read_is_written_again():
    summary = SegmentationSummary.from_json(CONTENT, FILE)
    assert summary.to_json() == CONTENT
    assert list(summary.to_json()["classes"]["LV"]) == ["dice", "counts"]
    assert summary.classes["LV"].scores["dice"].mean == 0.8
    assert summary.scored_metrics == ["dice"]
    assert summary.counts_over_classes() == COUNTS
    assert "trained on 2 and selected on 0" in summary.seen_sentence()
    assert seen_sentence({"train": ["a"]}, 1, "image").startswith("Of the 1 image, the model was trained on 1 and")
    assert summary.edited_sentence() == summary.synthetic_sentence() == ""
    assert not summary.anonymized


def test_a_missing_key_is_named():
    with pytest.raises(EvaluationError, match="case_dice: Field required"):
        SegmentationSummary.from_json({key: value for key, value in CONTENT.items() if key != "case_dice"}, FILE)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"convention": 1}, "convention"),
        ({"overall": {"dice": {"mean": "0.8"}}}, "overall.dice.mean"),
        ({"classes": {"LV": {"dice": {"ci95": [0.1]}}}}, "classes.LV.scores.dice.ci95"),
        ({"classes": {"LV": ["dice"]}}, "classes.LV"),
        ({"files": {"a": {"prediction": 3}}}, "files.a.prediction"),
        ({"labels": {"LV": 0}}, "labels.LV"),
    ],
)
def test_other_types_are_refused(changes, place):
    with pytest.raises(EvaluationError) as raised:
        SegmentationSummary.from_json({**CONTENT, **changes}, FILE, "Evaluate again")
    assert str(raised.value.found).startswith(place)
    assert Path(str(raised.value.file)) == FILE


def test_paired_round_trip():
    content = {
        "against": "q",
        "weights_sha256": None,
        "seen": {"train": [], "val": []},
        "edited": [],
        "convention": "default",
        "definition": "these minus the others",
        "cases": 3,
        "overall": {"dice": {"difference": 0.1, "p_holm": None}},
        "classes": {},
    }
    assert PairedSummary.from_json(content, FILE).to_json() == content


@pytest.mark.parametrize(("scored_in_mm", "key"), [(3, "hd95_mm"), (0, "hd95_vox")])
def test_hd95_is_in_voxels_only_where_nothing_is_scored_in_mm(scored_in_mm, key):
    scores = {"hd95_mm": {**STATS, "n": scored_in_mm}, "hd95_vox": STATS}
    content = {**CONTENT, "overall": scores, "classes": {"LV": {**scores, "counts": COUNTS}}}
    assert SegmentationSummary.from_json(content, FILE).hd95 == key
