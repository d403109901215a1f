"""A metric that one file registers from outside the package reaches every file, table and page."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from segcct import plugins
from segcct.errors import MetricError, PluginError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.images.volume import Volume
from segcct.metrics import MaskPair, Metric, all_metrics, metric_table, register_metric
from segcct.metrics.metric_table import registered_metrics
from segcct.report.segmentation_page import write_report

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
    monkeypatch.setattr(metric_table, "_TABLE", dict(metric_table._TABLE))


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
    assert list(rows[0])[:7] == ["case", "class", "dice", "iou", "hd95_mm", "nsd", "volume_similarity"]
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
@pytest.mark.parametrize("key", ["dice", "counts", "Volume", "a b", ""])
def test_a_key_that_is_taken_or_no_column_is_refused(key: str) -> None:
    with pytest.raises(MetricError):
        register_metric(Metric(key=key, label="Other", score=lambda pair: 1.0))


@pytest.mark.usefixtures("table")
def test_registering_twice_is_registering_once() -> None:
    metric = Metric(key="volume", label="Volume", score=lambda pair: float(pair.counts.prediction))
    register_metric(metric)
    register_metric(metric)
    assert list(all_metrics())[-1] == "volume"


@pytest.mark.usefixtures("table")
def test_entry_points_are_loaded_and_a_broken_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume_metric.py").write_text(PLUGIN, encoding="utf-8")
    record = tmp_path / "volume_metrics-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: volume-metrics\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[segcct.metrics]\nvolume = volume_metric\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metric_table, "_KNOWN_TO_ALL", set(metric_table._KNOWN_TO_ALL))

    def load() -> None:
        for cached in (plugins._groups_named, plugins.load_plugins, metric_table._load_entry_points):
            cached.cache_clear()
        sys.modules.pop("volume_metric", None)
        all_metrics()

    load()
    assert all_metrics()["volume_similarity"](MaskPair.of(np.ones(3), np.ones(3))) == 1.0
    assert registered_metrics() == ()  # another process loads it by itself
    (tmp_path / "volume_metric.py").write_text("import nothing_of_that_name")
    with pytest.raises(PluginError, match=r"volume of package volume-metrics .*nothing_of_that_name"):
        load()
    monkeypatch.undo()
    for cached in (plugins._groups_named, plugins.load_plugins, metric_table._load_entry_points):
        cached.cache_clear()


def test_every_row_says_what_it_is() -> None:
    for key, metric in all_metrics().items():
        assert metric.key == key
        assert metric.label
        assert metric.definition
        assert metric.bounds[0] < metric.bounds[1]
