"""A metric that one file registers from outside the package reaches every file, table and page."""

from __future__ import annotations

import csv
import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcct.errors import EvaluationError, MetricError, PluginError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.images.volume import Volume
from segcct.metrics import MaskPair, Metric, all_metrics, metric_table, register_metric
from segcct.metrics.metric_table import learn_metrics, registered_metrics
from segcct.report.segmentation_page import write_report
from tests.support.installed_package import install

PLUGIN = """
from segcct.metrics import MaskPair, Metric, register_metric

def volume_similarity(pair: MaskPair) -> float | None:
    total = pair.counts.prediction + pair.counts.reference
    return 1 - abs(pair.counts.prediction - pair.counts.reference) / total if total else None

register_metric(
    Metric(
        key="volume_similarity",
        label="Volume similarity",
        definition="one minus the difference of the volumes over their sum",
        score=volume_similarity,
    )
)
"""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of metrics, put back after the test."""
    all_metrics()
    monkeypatch.setattr(metric_table._TABLE, "_added", dict(metric_table._TABLE._added))


def masks(folder: Path, shift: int, wider: int) -> Path:
    """Two cases of one box, moved by `shift` and longer by `wider` voxels."""
    folder.mkdir()
    for case in "ab":
        labels = np.zeros((12, 12, 6), dtype=np.uint8)
        labels[2 : 6 + wider, 2 + shift : 6 + shift, 1:5] = 1
        Volume(labels, np.diag([-1.0, -1.0, 2.0, 1.0]), (1.0, 1.0, 2.0)).save(folder / f"{case}.nii.gz")
    return folder


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_metric_from_outside_reaches_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (tmp_path / "volume_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "volume_plugin", raising=False)
    __import__("volume_plugin")
    ours, theirs, reference = masks(tmp_path / "p", 1, 0), masks(tmp_path / "q", 0, 4), masks(tmp_path / "r", 0, 0)
    output = tmp_path / "o"
    summary = evaluate(
        ours,
        reference,
        "acdc",
        output=output,
        against=theirs,
        conventions=("default", "transunet"),
        workers=workers,
    )
    with (output / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = list(rows[0])
    assert columns[:6] == ["case", "class", "dice", "iou", "hd95_mm", "nsd"]
    assert columns[columns.index("volume_pred_ml") - 1] == "volume_similarity"
    assert {row["volume_similarity"] for row in rows if row["class"] == "RV"} == {"1.0"}
    stored = json.loads((output / "summary.transunet.json").read_text(encoding="utf-8"))
    assert stored["classes"]["RV"]["volume_similarity"]["mean"] == 1.0
    assert stored["definitions"]["volume_similarity"].startswith("one minus")
    assert summary["units"]["volume_similarity"] == "1"
    assert summary["overall"]["volume_similarity"]["mean"] == 1.0
    paired = json.loads((output / "paired.json").read_text(encoding="utf-8"))["overall"]["volume_similarity"]
    assert paired["difference"] == pytest.approx(1 / 3)  # 2 of 6 slabs
    assert paired["wins"] == 2
    markdown = (output / "table.md").read_text(encoding="utf-8")
    assert markdown.count("| Volume similarity |") == 1
    assert "Volume similarity difference" in markdown
    page = write_report(output, tmp_path / "page").read_text(encoding="utf-8")
    assert page.count("<h2>Volume similarity</h2>") == 1
    assert page.count("<dt>Volume similarity</dt><dd>one minus the difference of the volumes") == 1
    assert '<option value="volume_similarity"' in page


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("key", ["dice", "counts", "value", "voxels_ref", "background", "Volume", "a b", ""])
def test_a_key_that_is_taken_or_no_column_is_refused(key: str) -> None:
    with pytest.raises(PluginError, match=rf"'{key}' already\. Register yours|expected lower-case letters"):
        register_metric(Metric(key=key, label="Other", score=lambda pair: 1.0))


@pytest.mark.usefixtures("table")
def test_registering_twice_is_registering_once() -> None:
    metric = Metric(key="volume", label="Volume", score=lambda pair: float(pair.counts.prediction))
    register_metric(metric)
    register_metric(metric)
    assert list(all_metrics())[-1] == "volume"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        (PLUGIN.replace('"volume_similarity"', '"dice"'), "already"),
    ],
)
def test_entry_points_are_loaded_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    with monkeypatch.context() as patch:
        install(tmp_path, patch, metric_table._TABLE, "volume_metric", PLUGIN, package="volume-metrics")
        assert all_metrics()["volume_similarity"](MaskPair.of(np.ones(3), np.ones(3))) == 1.0
        assert registered_metrics() == ()  # another process loads it by itself
    with monkeypatch.context() as patch:
        install(tmp_path, patch, metric_table._TABLE, "volume_metric", source, package="volume-metrics")
        with pytest.raises(PluginError, match=rf"of package volume-metrics .*{words}"):
            all_metrics()


@pytest.mark.usefixtures("table")
def test_a_score_of_numpy_is_written_as_a_number(tmp_path: Path) -> None:
    register_metric(Metric(key="overlap", label="Overlap", score=lambda pair: np.float64(pair.counts.dice)))
    evaluate(masks(tmp_path / "p", 1, 0), masks(tmp_path / "r", 0, 0), "acdc", output=tmp_path / "o")
    with (tmp_path / "o" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["overlap"] for row in rows] == [row["dice"] for row in rows]


@pytest.mark.usefixtures("table")
def test_an_infinite_score_names_its_metric_and_its_case(tmp_path: Path) -> None:
    register_metric(Metric(key="ratio", label="Ratio", score=lambda pair: math.inf))
    found = r"a: metric 'ratio' gives an infinite score \(found inf for a structure of status ok"
    with pytest.raises(EvaluationError, match=found):
        evaluate(masks(tmp_path / "p", 1, 0), masks(tmp_path / "r", 0, 0), "acdc")


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda pair: pair.counts.dice / 0, r"ZeroDivisionError: .*, in line \d+ of .*test_metric_table\.py"),
        (lambda pair: np.linalg.inv(np.zeros((2, 2))), r"LinAlgError: .*, in line \d+ of .*test_metric_table\.py"),
        (lambda pair: "high", "TypeError: must be real number, not str"),
    ],
)
def test_a_metric_that_fails_is_named_and_is_no_bug_of_segcct(
    score: Callable[[MaskPair], Any], words: str, tmp_path: Path
) -> None:
    register_metric(Metric(key="ratio", label="Ratio", score=score))
    with pytest.raises(EvaluationError, match=rf"a: metric 'ratio' fails for .* status ok \(found {words}") as caught:
        evaluate(masks(tmp_path / "p", 1, 0), masks(tmp_path / "r", 0, 0), "acdc")
    assert "bug of segcct" not in str(caught.value)


@pytest.mark.usefixtures("table")
def test_a_score_outside_the_bounds_names_its_metric_and_them(tmp_path: Path) -> None:
    """Its interval, clipped to 0 to 1, would not hold its mean."""
    register_metric(Metric(key="volume", label="Volume", score=lambda pair: float(pair.counts.prediction)))
    found = r"a: metric 'volume' gives a score outside its bounds \(found 64 for .* expected 0 to 1\).*bounds="
    with pytest.raises(EvaluationError, match=found):
        evaluate(masks(tmp_path / "p", 1, 0), masks(tmp_path / "r", 0, 0), "acdc")


@pytest.mark.usefixtures("table")
def test_a_metric_that_is_best_at_0_is_won_by_the_nearer(tmp_path: Path) -> None:
    """A box of a fourth of the volume, -0.75, against a box of the right one, 0."""
    score = attrgetter("counts.volume_difference")
    register_metric(Metric(key="excess", label="Excess", score=score, bounds=(-1.0, math.inf), higher_is_better=None))
    ours, theirs, reference = masks(tmp_path / "p", 0, -3), masks(tmp_path / "q", 1, 0), masks(tmp_path / "r", 0, 0)
    excess = evaluate(ours, reference, "acdc", against=theirs)["paired"]["classes"]["RV"]["excess"]
    assert excess["difference"] == pytest.approx(-0.75)
    assert (excess["wins"], excess["losses"]) == (0, 2)


def scaled_dice(pair: MaskPair, factor: float) -> float:
    return factor * pair.counts.dice


@pytest.mark.usefixtures("table")
def test_a_process_keeps_the_metric_that_it_was_sent_before() -> None:
    metric = Metric(key="half", label="Half", score=partial(scaled_dice, factor=0.5))
    learn_metrics([metric])
    learn_metrics([pickle.loads(pickle.dumps(metric))])
    assert all_metrics()["half"] is metric


@pytest.mark.usefixtures("table")
def test_a_metric_that_no_process_can_be_sent_is_named(tmp_path: Path) -> None:
    register_metric(Metric(key="local", label="Local", score=lambda pair: 1.0))
    prediction, reference = masks(tmp_path / "p", 1, 0), masks(tmp_path / "r", 0, 0)
    with pytest.raises(MetricError, match=r"metric 'local' cannot be sent to another process.*use --workers 1"):
        evaluate(prediction, reference, "acdc", workers=2)
    assert evaluate(prediction, reference, "acdc")["classes"]["RV"]["local"]["mean"] == 1.0


def test_every_row_says_what_it_is() -> None:
    for key, metric in all_metrics().items():
        assert metric.key == key
        assert metric.label
        assert metric.definition
        assert metric.bounds[0] < metric.bounds[1]
