"""The segmentation report: numbers, pictures, honesty about what is missing, one file that needs no network."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import segcct
from segcct import figures
from segcct.cli import main
from segcct.errors import EvaluationError, GeometryError
from segcct.evaluation.evaluate_folders import evaluate
from segcct.evaluation.summary_record import MetricStats
from segcct.figures.colors import rgb
from segcct.metrics.metric_table import quantity
from segcct.plurals import listed_in_prose
from segcct.report import plots
from segcct.report.findings import findings, ranked, worst_cases
from segcct.report.html import Tile, flat, fraction, interval, number, pvalue, render, signed
from segcct.report.results import Score, read_results
from segcct.report.segmentation_page import write_report
from segcct.report.slice_image import write_picture
from segcct.report.viewer import data_uri
from tests.support.browser import probed, too_wide_for_paper

METRICS = ("dice", "iou", "hd95_mm", "nsd")


def save(path: Path, array: np.ndarray, description: str = "", spacing=(1.5, 1.5, 8.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()
    nib.save(image, path)
    return path


def heart(shift: int = 0) -> np.ndarray:
    """(40, 48, 6) labels: RV 1, MYO 2, LV 3 in the middle slices."""
    x, y, z = np.ogrid[:40, :48, :6]
    far = (x - 20 - shift) ** 2 + (y - 24) ** 2 + 0 * z
    inside = (z > 0) & (z < 5)
    label = np.zeros((40, 48, 6), np.uint8)
    label[(far < 100) & inside] = 2
    label[(far < 49) & inside] = 3
    label[((x - 8 - shift) ** 2 + (y - 24) ** 2 < 16) & inside] = 1
    return label


def scan(label: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(100, 5, label.shape)
    return (noise + 60 * (label == 3) + 30 * (label == 1)).astype(np.float32)


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    """Folders predictions, references, images of five cases: shifted by 0, 1 and 2, LV missed, RV absent."""
    root = tmp_path_factory.mktemp("masks")
    cases = {}
    for index, (case, shift) in enumerate(
        {"p1_same": 0, "p2_near": 1, "p3_far": 2, "p4_missed": 0, "p5_absent": 1}.items()
    ):
        reference, prediction = heart(), heart(shift)
        if case == "p4_missed":
            prediction[prediction == 3] = 2
        if case == "p5_absent":
            reference[reference == 1] = prediction[prediction == 1] = 0
        save(root / "references" / f"{case}.nii.gz", reference)
        save(root / "predictions" / f"{case}.nii.gz", prediction)
        image = save(root / "images" / f"{case}.nii.gz", scan(reference, index))
        cases[case] = {"mask": f"{case}.nii.gz", "channels": {"cine": [str(image)]}}
    scheme = {"name": "acdc", "classes": {"RV": 1, "MYO": 2, "LV": 3}, "regions": {}}
    index = {
        "cases": cases,
        "scheme": scheme,
        "selected_on": "validation Dice",
        "provenance": {"command": "segcct predict"},
    }
    (root / "predictions" / "predictions.json").write_text(json.dumps(index))
    return root


@pytest.fixture(scope="module")
def evaluation(masks: Path) -> Path:
    evaluate(masks / "predictions", masks / "references", output=masks / "evaluation")
    return masks / "evaluation"


@pytest.fixture(scope="module")
def page(evaluation: Path) -> str:
    return write_report(evaluation, evaluation.parent / "report").read_text(encoding="utf-8")


def stats(values: list[float | None]) -> dict:
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    ends = [min(known), max(known)] if len(known) > 1 else [None, None]
    return {"mean": mean, "sd": None, "median": mean, "q25": None, "q75": None, "ci95": ends, "n": len(known)}


ABOUT = {
    "task": "segmentation",
    "convention": "default",
    "scheme": "custom",
    "regions": {},
    "units": {},
    "definitions": {},
    "tolerance_mm": 2.0,
    "unmatched": {"predictions": [], "references": []},
    "seen": {"train": [], "val": []},
    "synthetic": [],
    "synthetic_training": False,
    "edited": [],
    "digests": {},
    "weights_sha256": None,
    "model": {},
    "data": None,
    "files": {},
    "provenance": {},
    "label_map": {"pixel_accuracy": stats([0.9]), "background": stats([0.8]), "definitions": {}, "unit": "1"},
}
"""What a summary says besides its scores."""


def by_hand(folder: Path, rows: list[tuple], **more: object) -> Path:
    """An evaluation folder from rows of (case, class, Dice, status, reference volume in ml)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(row[1] for row in rows))
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "class", *METRICS, "volume_pred_ml", "volume_ref_ml", "status"])
        for case, name, dice, status, volume in rows:
            cells = ["" if dice is None else dice] * 4 + ["", "" if volume is None else volume]
            writer.writerow([case, name, *cells, status])
    regions = more.get("regions", {})
    dice = {
        case: [row[2] for row in rows if row[0] == case and row[1] not in regions and row[2] is not None]
        for case in dict.fromkeys(row[0] for row in rows)
    }
    classes = {
        name: {
            **{metric: stats([row[2] for row in rows if row[1] == name]) for metric in METRICS},
            "counts": {
                status: sum(row[1] == name and row[3] == status for row in rows)
                for status in ("ok", "missed", "spurious", "absent")
            },
        }
        for name in names
    }
    summary = {
        **ABOUT,
        "labels": {name: index for index, name in enumerate(names, start=1)},
        "cases": len(dice),
        "patients": len(dice),
        "overall": {metric: stats([row[2] for row in rows]) for metric in METRICS},
        "classes": classes,
        "case_dice": {case: sum(values) / len(values) if values else None for case, values in dice.items()},
        **more,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


class Outline(HTMLParser):
    """Text, ids, addresses and unclosed tags of a page."""

    VOID = frozenset({"meta", "input", "br", "line", "circle", "path", "use", "image"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.addresses += [values[name] or "" for name in ("href", "src", "xlink:href") if name in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def test_the_page_is_one_well_formed_file_that_asks_for_nothing_else(page: str):
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in outline.addresses)
    targets = {address[1:] for address in outline.addresses if address.startswith("#")}
    assert targets <= set(outline.ids)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_the_page_shows_the_summarys_numbers_and_counts(page: str, evaluation: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    words = Outline(page).words
    dice = summary["overall"]["dice"]
    low, high = dice["ci95"]
    assert f"Mean Dice {dice['mean']:.3f}" in words
    assert f"95% interval {low:.3f} to {high:.3f}, median {dice['median']:.3f}" in words
    lv = summary["classes"]["LV"]
    assert f"LV {lv['dice']['mean']:.3f}" in words
    assert f"{lv['hd95_mm']['mean']:.2f}" in words
    assert "HD95 (mm)" in words
    assert "NSD (2 mm)" in words
    assert "convention default" in words
    counts = re.findall(r'<td class="count[^>]*data-label="(\w+)">(\d+)</td>', page)
    assert counts == [
        *[("ok", "4"), ("missed", "0"), ("spurious", "0"), ("absent", "1")],
        *[("ok", "5"), ("missed", "0"), ("spurious", "0"), ("absent", "0")],
        *[("ok", "4"), ("missed", "1"), ("spurious", "0"), ("absent", "0")],
    ]


def test_the_page_shows_pixel_accuracy_and_what_an_empty_mask_reaches(page: str, evaluation: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    words = Outline(page).words
    told = summary["label_map"]
    assert f"Pixel accuracy {number(told['pixel_accuracy']['mean'], 4)}" in words
    assert f"background included; an empty mask: {number(told['background']['mean'], 4)}" in words
    for text in told["definitions"].values():
        assert text in words
    results = read_results(evaluation)
    assert set(results.pixel_accuracy) == set(results.cases)
    for value in results.pixel_accuracy.values():
        assert f'<td data-value="{value}">{number(value, 4)}</td>' in page


def test_a_cell_holds_every_metric_in_few_bytes(page: str, evaluation: Path):
    row = re.search(r'<tr data-case="p4_missed">.*?</tr>', page, flags=re.DOTALL)
    assert row is not None
    metrics = re.findall(r'<option value="(\w+)"', page)
    assert metrics[0] == "dice"  # which the cells show first
    assert {"hd95_mm", "volume_difference", "asd_mm"} <= set(metrics)
    cells = list(re.finditer(r'<td[^>]*data-scores="([^"]*)".*?</td>', row[0]))
    for cell, score in zip(cells, read_results(evaluation).of_case("p4_missed").values(), strict=True):
        shown = [number(score.values[key], quantity(key).digits) for key in metrics]
        assert cell[1] == ",".join(shown).replace("not defined", "").replace("\N{MINUS SIGN}", "-")
        assert len(cell[0]) < 200  # a page of a thousand cases and a hundred classes must still open


def test_the_page_says_where_it_comes_from_and_what_it_is_not_for(page: str):
    words = Outline(page).words
    for text in ("command", "commit", "selected on", "validation Dice", "segcct predict", "packages"):
        assert text in words, text
    assert "research use. Not a medical device" in words
    assert "bootstrap" in words  # the definition of the interval
    assert "Synthetic data" not in words


def test_nothing_undefined_is_printed_as_a_number(page: str):
    words = Outline(page).words
    assert not re.search(r"\b(nan|NaN|None|inf|undefined|null)\b", words)


def test_best_median_and_worst_are_shown_in_pictures(page: str, evaluation: Path):
    assert ranked(read_results(evaluation)) == [("Best", "p1_same"), ("Median", "p2_near"), ("Worst", "p4_missed")]
    words = Outline(page).words
    for text in (
        "Best p1_same mean Dice 1.000",
        "Median p2_near",
        "Worst p4_missed",
        "Missed entirely: LV in 1 of the 5",
    ):
        assert text in words, text
    assert page.count('class="picture') == 3 * 4
    assert words.count("Axial slices at true proportions, seen from the feet") == 3
    assert re.findall(r'<i class="at-left">(\w+)</i><i class="at-right">(\w+)</i>', page) == [("R", "L")] * 12
    assert "window " in words
    assert words.count("20 mm") == 12


def test_masks_and_pixels_on_the_page_are_those_of_the_files(page: str, masks: Path):
    prediction = heart()
    prediction[prediction == 3] = 2  # p4_missed
    image = scan(heart(), 3)
    plane = figures.plane_of(prediction.shape, np.diag([-1.5, -1.5, 8.0, 1.0]), (1.5, 1.5, 8.0))
    shown = figures.window(image)
    labels = [plane.slices(heart()), plane.slices(prediction)]
    chosen = figures.spread_slices(labels, 9, include=figures.best_slice(*labels))
    grey = shown.apply(plane.slices(image))
    box = figures.focus_box(grey[chosen], [label[chosen] for label in labels])
    assert chosen == [1, 2, 3, 4]
    for place, index in enumerate(chosen):
        assert f'<path class="k2" d="{figures.svg_path(labels[1][index][box] == 2)}"/>' in page
        uri = re.search(rf'id="vworst-image-0-{place}"[^>]*href="data:image/webp;base64,([^"]+)"', page)
        assert uri is not None
        decoded = Image.open(io.BytesIO(base64.b64decode(uri[1]))).convert("L")
        expected = Image.fromarray(grey[index][box])
        apart = np.asarray(decoded.resize(expected.size), float) - np.asarray(expected, float)
        assert np.abs(apart).mean() < 12
    assert f'<path class="d-other" d="{figures.svg_path((labels[0][1] == 3)[box])}"/>' in page


def test_the_page_is_the_same_every_time(evaluation: Path, page: str, tmp_path: Path):
    assert write_report(evaluation, tmp_path).read_text(encoding="utf-8") == page


def test_missing_images_are_said_and_the_page_is_written(evaluation: Path, tmp_path: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    summary["files"]["p1_same"]["channels"]["cine"] = [str(tmp_path / "gone.nii.gz")]
    summary["files"]["p2_near"] = {}
    summary["files"]["p4_missed"]["channels"] = {}
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    page = write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")
    words = Outline(page).words
    assert f"No image: {tmp_path / 'gone.nii.gz'}: no such file" in words
    assert "No image: the evaluation names no image files for this case" in words
    remedy = "Run `segcct evaluate` with the dataset as --reference and its config as --scheme"
    assert f"No image: the evaluation names no image of case p4_missed, only masks. {remedy}." in words
    with_masks = [case for case in re.findall(r'<article class="case">.*?</article>', page, re.S) if "<path" in case]
    assert len(with_masks) == 2  # which are drawn without the image, where their files are known
    for case in with_masks:
        assert re.findall(r"<figcaption>(.*?)</figcaption>", case) == ["Reference", "Prediction", "Difference"]
        assert "masks without the image<" in case


def test_an_image_on_another_grid_is_not_drawn(evaluation: Path, tmp_path: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    wrong = save(tmp_path / "wrong.nii.gz", np.ones((40, 48, 5), np.float32))
    summary["files"]["p1_same"]["channels"]["cine"] = [str(wrong)]
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    page = write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")
    assert "shapes differ (found (40, 48, 6); expected (40, 48, 5)" in page
    save(wrong, np.ones((40, 48, 6), np.float32), spacing=(1.5, -1.5, 8.0))
    with pytest.raises(GeometryError, match="mm apart"):
        write_picture(tmp_path / "evaluation", tmp_path / "picture.png", case="p1_same")
    assert not (tmp_path / "picture.png").exists()


def test_a_page_is_drawn_from_the_summarys_means_not_from_the_table_again(evaluation: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    results = read_results(evaluation)
    assert {case: results.mean_dice(case) for case in results.cases} == summary["case_dice"]


def test_a_page_of_another_package_is_made_of_the_same_kit(tmp_path: Path):
    template = tmp_path / "own.html"
    template.write_text(
        '{% extends "base.html" %}{% from "kit.html" import hero %}{% block main %}{{ hero(tile, ["So it is."]) }}'
        "{% endblock %}"
    )
    page = render(template, title="Own", colors={}, tile=Tile("Own score", 0.5))
    assert "Own score 0.500 So it is." in Outline(page).words


def test_synthetic_images_are_announced(masks: Path, evaluation: Path, tmp_path: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    made = save(tmp_path / "made.nii.gz", scan(heart(), 0), "synthetic, segcct phantom")
    summary["files"]["p1_same"]["channels"]["cine"] = [str(made)]
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    words = Outline(write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")).words
    assert "Synthetic data." in words


def test_synthetic_cases_are_announced_without_their_images(tmp_path: Path):
    by_hand(tmp_path / "e", [("a", "x", 0.5, "ok", 3.0)], synthetic=["a"])
    words = Outline(write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")).words
    assert "Synthetic data." in words


def test_several_channels_can_be_chosen(masks: Path, evaluation: Path, tmp_path: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    for case in summary["files"]:
        image = str(masks / "images" / f"{case}.nii.gz")
        summary["files"][case]["channels"] = {name: [image] for name in ("t1", "t1c", "t2", "flair", "fifth")}
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    page = write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")
    assert len(re.findall(r"data-channel=\"\d\" aria-pressed", page)) == 3 * 4
    assert ">flair</button>" in page
    assert "fifth" not in page


def test_conventions_stand_side_by_side_and_differences_are_marked(masks: Path, tmp_path: Path):
    evaluate(
        masks / "predictions",
        masks / "references",
        output=tmp_path / "evaluation",
        conventions=("default", "brats2020"),
    )
    page = write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")
    words = Outline(page).words
    assert "The same masks under other conventions" in words
    # RV is absent once: not scored by default, Dice 1 under brats2020.
    summaries = [
        json.loads((tmp_path / "evaluation" / name).read_text(encoding="utf-8"))
        for name in ("summary.json", "summary.brats2020.json")
    ]
    first, second = (summary["classes"]["RV"]["dice"]["mean"] for summary in summaries)
    assert first != second
    cell = re.compile(rf"<td>{first:.3f}<small>4 scored</small></td><td class=\"differs\">{second:.3f}</td>")
    assert cell.search(page)


def test_a_distance_in_voxels_is_not_marked_as_another_than_in_mm(masks: Path, tmp_path: Path):
    evaluation = tmp_path / "evaluation"
    evaluate(masks / "predictions", masks / "references", output=evaluation, conventions=("default", "transunet"))
    page = write_report(evaluation, tmp_path / "report").read_text(encoding="utf-8")
    table = page[page.index("The same masks under other conventions") :]
    assert '<th scope="col">transunet (voxels)</th>' in table
    rows = table[: table.index("</table>")].split('<tr><th scope="row">')[1:]
    assert len(rows) == 4
    assert {re.findall("<td[^>]*>", row)[-1] for row in rows} == {"<td>"}


def test_a_comparison_is_shown_with_its_test(masks: Path, tmp_path: Path):
    evaluation = tmp_path / "evaluation"
    evaluate(masks / "predictions", masks / "references", output=evaluation)
    one = {
        "difference": -0.0312,
        "ci95": [-0.05, 0.01],
        "p": 0.01,
        "p_holm": 0.0004,
        "wins": 1,
        "losses": 3,
        "ties": 1,
        "n": 5,
    }
    definition = "these minus the others; p: Wilcoxon"
    about = {"against": "others", "weights_sha256": None, "convention": "default", "cases": 5, "edited": []}
    scores = {"overall": {"dice": one}, "classes": {"RV": {"dice": one}}}
    paired = {**about, "seen": {"train": [], "val": []}, "definition": definition, **scores}
    (evaluation / "paired.json").write_text(json.dumps(paired))
    words = Outline(write_report(evaluation, tmp_path / "report").read_text(encoding="utf-8")).words
    assert "RV \N{MINUS SIGN}0.031 \N{MINUS SIGN}0.050 to +0.010 p < 0.001, better in 1, worse in 3" in words
    assert "These minus the others; p: Wilcoxon." in words


def test_names_from_files_cannot_become_markup(tmp_path: Path):
    evil = "<script>alert(1)</script>&\"'"
    by_hand(tmp_path / "e", [(evil, evil, 0.5, "ok", 1.0), ("b", evil, 0.6, "ok", 2.0)])
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert Outline(page).open == []
    assert evil in "".join(Outline(page).text)


def test_scores_that_are_not_defined_are_said_so(tmp_path: Path):
    by_hand(tmp_path / "e", [("a", "x", None, "absent", 0.0), ("b", "x", None, "absent", 0.0)])
    words = Outline(write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")).words
    assert "Mean Dice not defined" in words
    assert "No case has a score, so none is shown" in words
    assert "Not drawn: the evaluation has no volumes" in words
    assert "The evaluation states no definitions" in words
    assert "The evaluation records no provenance" in words
    assert not re.search(r"\b(nan|NaN|None)\b", words)


def test_one_case_has_no_interval_and_is_the_only_picture(tmp_path: Path):
    by_hand(tmp_path / "e", [("a", "x", 0.5, "ok", 3.0)])
    results = read_results(tmp_path / "e")
    assert ranked(results) == [("Only", "a")]
    words = Outline(write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")).words
    assert "95% interval not defined" in words


def test_cases_left_out_are_named(tmp_path: Path):
    unmatched = {"predictions": ["z"], "references": ["q", "r"]}
    by_hand(tmp_path / "e", [("a", "x", 0.5, "ok", 3.0)], unmatched=unmatched)
    sentence = findings(read_results(tmp_path / "e"))[-1]
    assert sentence == (
        "Not scored: 2 references without a prediction (q and r) and 1 prediction without a reference (z)."
    )


def test_findings_and_worst_cases_read_off_the_table(tmp_path: Path):
    rows = [
        *[("a", "big", 0.95, "ok", 40.0), ("a", "small", 0.0, "missed", 1.25)],
        *[("b", "big", 0.90, "ok", 30.0), ("b", "small", 0.8, "ok", 2.0)],
        *[("c", "big", 0.85, "ok", 30.0), ("c", "small", 0.0, "spurious", 0.0)],
        *[("d", "big", 0.80, "ok", 30.0), ("d", "small", None, "absent", 0.0)],
    ]
    results = read_results(by_hand(tmp_path / "e", rows))
    assert findings(results) == [
        "Of the classes, big is segmented best (mean Dice 0.875), small worst (0.267).",
        "Missed entirely: small in 1 of the 2 cases with it.",
        "Predicted where the reference has none: small in 1 case.",
        "2 of 4 cases have a mean Dice below 0.7: c and a.",
    ]
    assert [(one.case, one.reason) for one in worst_cases(results)] == [
        ("c", "small spurious"),
        ("a", "small missed (1.25 ml)"),
        ("d", ""),
        ("b", "lowest in small (0.800)"),
    ]
    assert results.mean_dice("d") == pytest.approx(0.8)


def test_of_many_classes_those_missed_most_often_are_named(tmp_path: Path):
    missed = {"one": 1, "two": 0, "three": 2, "four": 1, "five": 1, "six": 3}
    rows = [
        (f"c{case}", name, 0.0 if case < count else 0.9, "missed" if case < count else "ok", 1.0)
        for case in range(4)
        for name, count in missed.items()
    ]
    sentence = next(each for each in findings(read_results(by_hand(tmp_path / "e", rows))) if "Missed" in each)
    assert sentence.startswith(
        "Missed entirely: six in 3 of the 4 cases with it, three in 2 of the 4 cases with it, one"
    )


def test_a_case_whose_classes_are_equal_has_no_lowest(tmp_path: Path):
    rows = [(case, name, 1.0, "ok", 1.0) for case in ("a", "b") for name in ("big", "small")]
    assert [one.reason for one in worst_cases(read_results(by_hand(tmp_path / "e", rows)))] == ["", ""]


def test_every_plot_names_its_axes(page: str):
    assert page.count('<p class="y-name">Dice</p>') == page.count('<div class="scatter"') == 1
    assert "Volume of the reference (ml, logarithmic)</p>" in page


def test_dots_of_hundreds_of_cases_are_lighter(page: str, tmp_path: Path):
    rows = [(f"c{case:03d}", "big", case / 200, "ok", 1.0 + case) for case in range(120)]
    many = write_report(by_hand(tmp_path / "e", rows), tmp_path / "r").read_text(encoding="utf-8")
    assert many.count('<g class="dots k1 many"') == 2
    assert "many" not in "".join(re.findall('<g class="dots[^>]*>', page))


def test_of_classes_that_are_equal_none_is_best(tmp_path: Path):
    results = read_results(by_hand(tmp_path / "e", [("a", "x", 1.0, "ok", 3.0), ("a", "y", 1.0, "ok", 3.0)]))
    assert findings(results)[0] == "No structure was missed entirely."


def test_a_case_is_not_chosen_for_a_figure_that_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folders = ["--evaluation", str(by_hand(tmp_path / "e", [("a", "x", 0.5, "ok", 3.0)])), "--output", str(tmp_path)]
    assert main(["report", *folders, "--case", "a"]) == 1
    assert "--case does nothing without a --picture" in capsys.readouterr().err


def test_regions_do_not_enter_the_means(tmp_path: Path):
    rows = [("a", "core", 0.5, "ok", 3.0), ("a", "whole", 0.9, "ok", 9.0)]
    by_hand(tmp_path / "e", rows, labels={"core": 1}, regions={"whole": [1, 2]})
    results = read_results(tmp_path / "e")
    assert (results.classes, results.regions) == (["core"], ["whole"])
    assert results.mean_dice("a") == 0.5
    words = Outline(write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")).words
    assert "Regions: unions of classes, not in the mean above" in words


GOOD = "case,class,dice,iou,hd95_mm,nsd,volume_pred_ml,volume_ref_ml,status\na,x,0.5,0.3,1,1,1,1,ok\n"
COUNTS = {"ok": 1, "missed": 0, "spurious": 0, "absent": 0}
SCORES = {"labels": {"x": 1}, "cases": 1, "patients": 1, "overall": {}, "classes": {"x": {"counts": COUNTS}}}
SUMMARY = json.dumps({**ABOUT, **SCORES, "case_dice": {"a": 0.5}})


@pytest.mark.parametrize(
    ("table", "summary", "message"),
    [
        (None, SUMMARY, "metrics.csv: no such file"),
        (GOOD, None, "summary.json: no such file"),
        (GOOD, "{", "summary.json: not valid JSON"),
        (GOOD, "[]", "summary.json: not valid JSON (found an array, not an object"),
        (GOOD, "{}", "Field required"),
        ("case,class\n", SUMMARY, "columns are missing (found case, class;"),
        (GOOD.splitlines()[0] + "\n", SUMMARY, "the table holds no case"),
        (GOOD.replace("0.5", "half"), SUMMARY, "line 2: dice is not a number (found 'half')"),
        (GOOD.replace(",ok", ",fine"), SUMMARY, "line 2: unknown status (found 'fine'"),
        (GOOD.replace(",ok", ",ok,9"), SUMMARY, "line 2 has a different number of cells"),
        (GOOD.replace("a,x", "a,y"), SUMMARY, "the table names classes that the summary does not (found y"),
    ],
)
def test_a_damaged_evaluation_is_an_error_and_the_old_report_stays(tmp_path: Path, table, summary, message):
    folder, report = tmp_path / "e", tmp_path / "r"
    folder.mkdir()
    report.mkdir()
    (report / "report.html").write_text("old")
    for name, content in (("metrics.csv", table), ("summary.json", summary)):
        if content is not None:
            (folder / name).write_text(content)
    with pytest.raises(EvaluationError) as caught:
        write_report(folder, report)
    assert message in str(caught.value)
    assert [(path.name, path.read_text(encoding="utf-8")) for path in report.iterdir()] == [("report.html", "old")]


def test_the_page_of_a_comparison_is_not_replaced(evaluation: Path, tmp_path: Path):
    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("of segcct compare")
    with pytest.raises(EvaluationError, match=r"report\.html: is the page of a comparison.*another --output"):
        write_report(evaluation, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "of segcct compare"


def test_no_evaluation_folder_is_an_error(tmp_path: Path):
    with pytest.raises(EvaluationError, match="no such evaluation folder"):
        write_report(tmp_path / "none", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_slices_without_geometry_are_drawn_in_pixels_and_the_labels_mapped(tmp_path: Path):
    import h5py

    data = {
        "layout": "slices",
        "root": str(tmp_path / "h5"),
        "channels": {"cine": "image"},
        "label": "label",
        "scheme": "acdc",
        "label_map": {9: 3},
    }
    (tmp_path / "h5").mkdir()
    cases = {}
    for case, shift in {"patient001_frame01": 1, "patient002_frame01": 2}.items():
        label = heart().transpose(2, 1, 0)  # (z, y, x)
        files = [tmp_path / "h5" / f"{case}_slice_{index}.h5" for index in range(len(label))]
        for file, rows, picture in zip(files, label, scan(label, 1), strict=True):
            with h5py.File(file, "w") as stored:
                stored["image"] = (picture / 300).astype(np.float16)
                stored["label"] = np.where(rows == 3, 9, rows)
        save(tmp_path / "p" / f"{case}.nii.gz", heart(shift))
        cases[case] = {"mask": f"{case}.nii.gz", "channels": {"cine": [str(file) for file in files]}}
    index = {"cases": cases, "data": data, "scheme": {"name": "acdc", "classes": {"RV": 1, "MYO": 2, "LV": 3}}}
    (tmp_path / "p" / "predictions.json").write_text(json.dumps(index))
    evaluate(tmp_path / "p", tmp_path / "h5", output=tmp_path / "e")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    words = Outline(page).words
    assert "HD95 (voxels)" in words
    assert "(mm)" not in words
    assert "The files hold no voxel size or orientation: slices as stored, scale in pixels" in words
    assert "at-left" not in page.split("<main>")[1]
    assert "20 px" in words or "10 px" in words
    plane = figures.plane_of((40, 48, 6), None, None)
    assert page.count('<path class="k3"') == 2 * 2 * 4  # LV in reference and prediction, 4 slices, 2 cases
    assert plane.letters is None


def test_a_ct_is_shown_in_the_window_its_network_saw(evaluation: Path, tmp_path: Path):
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
    predictions = json.loads((evaluation.parent / "predictions" / "predictions.json").read_text(encoding="utf-8"))
    predictions["data"] = {"intensity": {"rule": "clip", "low": -125, "high": 275}}
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    summary["provenance"]["predictions"] = str(tmp_path)
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    words = Outline(write_report(tmp_path / "evaluation", tmp_path / "report").read_text(encoding="utf-8")).words
    assert words.count("window \N{MINUS SIGN}125 to 275 (level 75, width 400)") == 3


def test_colour_pictures_are_shown_in_colour(tmp_path: Path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 80, (40, 50, 3)).astype(np.uint8)
    colours[..., 0] += 150
    vessel = np.zeros((40, 50), np.uint8)
    vessel[10:14, 5:45] = 255
    for folder in ("images", "masks", "p"):
        (tmp_path / "d" / folder).mkdir(parents=True)
    Image.fromarray(colours).save(tmp_path / "d" / "images" / "1.png")
    Image.fromarray(vessel).save(tmp_path / "d" / "masks" / "1.png")
    save(tmp_path / "p" / "1.nii.gz", (np.roll(vessel, 1, axis=0) // 255).T[..., None])
    names = ("red", "green", "blue")
    data = {
        "layout": "pictures",
        "root": str(tmp_path / "d"),
        "channels": dict.fromkeys(names, "images/*.png"),
        "label": "masks/*.png",
        "scheme": "custom",
        "labels": {"vessel": 1},
        "label_map": {255: 1},
    }
    file = [str(tmp_path / "d" / "images" / "1.png")]
    index = {
        "cases": {"1": {"mask": "1.nii.gz", "channels": dict.fromkeys(names, file)}},
        "data": data,
        "scheme": {"name": "custom", "classes": {"vessel": 1}},
    }
    (tmp_path / "p" / "predictions.json").write_text(json.dumps(index))
    evaluate(tmp_path / "p", tmp_path / "d", output=tmp_path / "e")
    page = write_report(tmp_path / "e", tmp_path / "r").read_text(encoding="utf-8")
    assert "color: as stored, not windowed" in Outline(page).words
    uri = re.search(r'id="vonly-image-0-0"[^>]*href="data:image/webp;base64,([^"]+)"', page)
    assert uri is not None
    red, green, _ = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1])))).reshape(-1, 3).mean(axis=0)
    assert red > green + 100
    picture = write_picture(tmp_path / "e", tmp_path / "picture.png")
    with Image.open(picture) as png:
        assert png.mode == "RGB"


def test_one_picture_of_a_case(evaluation: Path, tmp_path: Path):
    with Image.open(write_picture(evaluation, tmp_path / "out" / "case.png")) as png:
        assert png.width > 4 * 150
    with pytest.raises(EvaluationError, match="no case 'nobody'"):
        write_picture(evaluation, tmp_path / "other.png", case="nobody")
    with pytest.raises(EvaluationError, match="no channel 't9' in case p3_far"):
        write_picture(evaluation, tmp_path / "other.png", case="p3_far", channel="t9")
    assert not (tmp_path / "other.png").exists()


def test_numbers_are_written_for_people():
    minus = "\N{MINUS SIGN}"
    assert [number(value) for value in (0.12345, -1, -1e-9, None, float("nan"), float("inf"), "x", True)] == [
        "0.123",
        f"{minus}1.000",
        "0.000",
        *["not defined"] * 5,
    ]
    assert interval([0.1, 0.25], 2) == "0.10 to 0.25"
    assert interval([None, 0.2]) == interval(None) == "not defined"
    assert [signed(value, 1) for value in (2, 0, -2, 0.01, None)] == [
        "+2.0",
        "0.0",
        f"{minus}2.0",
        "0.0",
        "not defined",
    ]
    assert [pvalue(value) for value in (0.0312, 0.00001, None)] == ["p = 0.031", "p < 0.001", "p not defined"]
    assert [fraction(value) for value in (0.5, 1.2, -0.1, None, True)] == [0.5, None, None, None, None]
    assert [listed_in_prose(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert listed_in_prose(list("abcde"), 2) == "a, b and 3 more"
    details = {"packages": {"torch": "2.6", "x_y": None, "numpy": 2}, "d": [1, 2], "e": None, "data_hash": "ab"}
    assert flat(details) == [("packages", "torch 2.6, numpy 2"), ("d", "1, 2"), ("data hash", "ab")]


def score(case: str, dice: float | None, volume: float | None, status: str = "ok", name: str = "x") -> Score:
    return Score(case, name, status, {"dice": dice, "volume_ref_ml": volume})


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_dots_of_a_strip_stand_at_their_score_within_the_row(values):
    row = plots.strip("x", [score(str(i), value, 1.0) for i, value in enumerate(values)], MetricStats(**stats(values)))
    assert sorted(dot.x for dot in row.dots) == sorted(round(100 * value, 2) for value in values)
    assert all(abs(dot.y) <= 13 for dot in row.dots)
    if len(values) <= 5:  # as many rows: no two dots may touch
        places = [(dot.x * 5.6, dot.y) for dot in row.dots]
        gaps = [np.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(places) for b in places[:i]]
        assert not gaps or min(gaps) >= 5.4


def test_scatter_places_volumes_on_a_logarithmic_axis():
    scores = [score("a", 1.0, 1.0), score("b", 0.5, 10.0), score("c", 0.0, 100.0, "missed")]
    plot = plots.dice_by_volume(["x"], [*scores, score("d", 0.0, 0.0, "spurious"), score("e", None, 5.0, "absent")])
    assert plot is not None
    assert [(dot.x, dot.y, dot.status) for dot in plot.series[0]] == [
        (0.0, 0.0, "ok"),
        (50.0, 50.0, "ok"),
        (100.0, 100.0, "missed"),
    ]
    assert plot.series[0][2].text == "c: x 0.000, 100 ml (missed)"
    assert [label for _, label in plot.ticks] == ["1", "2", "5", "10", "20", "50", "100"]
    assert plot.note == "1 spurious structure has no reference volume and no place here."
    assert plots.dice_by_volume(["x"], [score("a", 0.5, None)]) is None


def test_embedded_pictures_are_small_and_of_a_size_for_screens():
    def opened(shape: tuple[int, ...]) -> Image.Image:
        uri = data_uri(np.zeros(shape, np.uint8))
        return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))

    assert opened((40, 80)).size == (320, 160)
    assert opened((500, 400)).size == (400, 500)
    assert opened((2000, 1000)).size == (320, 640)


def test_twenty_real_cases_make_a_small_page(shared_data: Path, tmp_path: Path):
    files = sorted((shared_data / "acdc_h5").rglob("patient*_frame??.h5"))[:20]
    if not files:
        pytest.skip("no ACDC volumes in the folder of real images")
    import h5py

    data = {
        "layout": "slices",
        "root": str(shared_data / "acdc_h5"),
        "channels": {"cine": "image"},
        "label": "label",
        "scheme": "acdc",
    }
    cases = {}
    for index, file in enumerate(files):
        with h5py.File(file) as stored:
            label = stored["label"][()].transpose(2, 1, 0).astype(np.uint8)
        save(tmp_path / "p" / f"{file.stem}.nii.gz", np.roll(label, index % 7, axis=0))
        cases[file.stem] = {"mask": f"{file.stem}.nii.gz", "channels": {"cine": [str(file)]}}
    index_json = {
        "cases": cases,
        "data": data,
        "selection": "test",
        "scheme": {"name": "acdc", "classes": {"RV": 1, "MYO": 2, "LV": 3}},
    }
    (tmp_path / "p" / "predictions.json").write_text(json.dumps(index_json))
    evaluate(tmp_path / "p", shared_data / "acdc_h5", output=tmp_path / "e")
    path = write_report(tmp_path / "e", tmp_path / "r")
    assert path.stat().st_size < 3_000_000
    assert path.read_text(encoding="utf-8").count('class="picture') == 12


STYLE = (Path(segcct.__file__).parent / "report" / "style.css").read_text(encoding="utf-8")


def contrast(one: str, other: str) -> float:
    """Contrast of two colors, 1 to 21, as the Web Content Accessibility Guidelines define it."""

    def luminance(color: str) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.array(rgb(color)) / 255]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(color: str, background: str, fraction: float) -> str:
    """As `color-mix` lays a tint over a background."""
    bands = fraction * np.array(rgb(color)) + (1 - fraction) * np.array(rgb(background))
    return "#" + "".join(f"{round(band):02x}" for band in bands)


def test_text_can_be_read_in_both_themes():
    themes = [
        dict(re.findall(r"--([a-z-]+): ([^;]+);", block)) for block in re.findall(r"{([^{}]*--bg:[^{}]*)}", STYLE)
    ]
    assert len(themes) == 3
    assert themes[1] == themes[2]  # dark by choice, and by the system
    for theme in themes:
        for color in ("ink", "muted", "accent", "warn"):
            assert contrast(theme[color], theme["card"]) >= 4.5, color
        for color in ("ink", "muted"):
            assert contrast(theme[color], theme["bg"]) >= 4.5, color
        assert contrast(theme["amber"], theme["amber-bg"]) >= 4.5
        for color in ("warn", "accent"):  # the strongest tint of a cell
            tint = mixed(theme[color], theme["card"], float(theme["tint"].rstrip("%")) / 100)
            assert contrast(theme["ink"], tint) >= 4.5, color


def test_a_page_is_printed_in_the_light_theme_with_its_colors():
    """On paper, browsers leave out backgrounds unless told otherwise: light letters would stand on white."""
    dark = re.findall(r"@media (screen[^{]*) {[^@]*?--bg: #0c0f14", STYLE)
    assert dark == ["screen", "screen and (prefers-color-scheme: dark)"]
    assert STYLE.count("#0c0f14") == 2
    assert "print-color-adjust: exact" in STYLE.split("@media print")[1]


@pytest.mark.slow
def test_tables_fit_on_paper(masks: Path, tmp_path: Path):
    """The table of four metrics and that of three conventions."""
    conventions = ["default", "transunet", "monai"]
    evaluate(masks / "predictions", masks / "references", output=tmp_path / "e", conventions=conventions)
    assert too_wide_for_paper(write_report(tmp_path / "e", tmp_path / "r")) == []


PROBE = """
<script>
window.addEventListener("load", () => {
  const out = {};
  const column = (index) =>
    [...document.querySelectorAll("#cases tbody tr")].map((row) => row.cells[index].textContent.trim());
  const heads = document.querySelectorAll("#cases thead button");
  const strip = document.querySelector(".strips svg"), said = () => strip.closest(".read").querySelector(".readout");
  const key = (name) => strip.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  out.notYet = said().textContent;
  key("End"); out.last = said().textContent;
  key("ArrowLeft"); out.before = said().textContent;
  key("Home"); key("ArrowLeft"); out.first = said().textContent;
  out.keyboard = [strip.tabIndex, ...["role", "aria-valuetext", "aria-valuenow"].map((one) => strip.getAttribute(one))];
  document.querySelectorAll(".strips svg")[1].dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
  out.other = said().textContent;
  key("Home"); out.again = said().textContent;
  const dot = document.querySelector(".scatter circle"), box = dot.getBoundingClientRect();
  const touch = { clientX: box.right + 6, clientY: box.top, bubbles: true };
  dot.closest("svg").dispatchEvent(new PointerEvent("pointerdown", touch));
  out.touched = dot.closest(".read").querySelector(".readout").textContent === dot.textContent;
  const plot = dot.closest("svg"), across = (one) => one.cx.baseVal.value;
  const left = [...plot.querySelectorAll("circle")].filter((one) => across(one) < across(dot));
  out.place = [plot.getAttribute("aria-valuenow"), String(left.length + 1)];
  out.marked = document.querySelectorAll(".chosen").length;
  heads[1].click(); out.up = column(0);
  heads[1].click(); out.down = column(0);
  heads[2].click(); out.absentLast = column(0).at(-1);
  document.querySelector("a[data-case]").click();
  out.focused = document.activeElement.dataset.case === document.querySelector("a[data-case]").dataset.case;
  const metric = document.getElementById("metric");
  metric.value = "hd95_mm"; metric.dispatchEvent(new Event("change"));
  out.hd = document.querySelector('tr[data-case="p1_same"] td[data-scores]').firstChild.data;
  const viewer = document.querySelector(".viewer"), slider = viewer.querySelector("input");
  slider.value = "0"; slider.dispatchEvent(new Event("input"));
  out.slice = viewer.querySelector(".slice-number").textContent;
  out.spoken = slider.getAttribute("aria-valuetext");
  out.shown = [...viewer.querySelectorAll("svg[data-slice]")]
    .filter((svg) => svg.style.display !== "none").map((svg) => svg.dataset.slice);
  viewer.querySelector(".legend button").click();
  out.hidden = [...viewer.querySelectorAll("path.k1")].every((path) => path.style.display === "none");
  viewer.querySelector(".picture").click();
  out.large = viewer.querySelectorAll('figure.large > .picture[aria-pressed="true"]').length;
  const before = getComputedStyle(document.body).backgroundColor;
  document.getElementById("theme").click();
  out.themed = getComputedStyle(document.body).backgroundColor !== before;
  out.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.innerHTML = "<pre id='probe'>" + JSON.stringify(out) + "</pre>";
});
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_works_in_a_browser(page: str, tmp_path: Path, width: int):
    (tmp_path / "page.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    out = probed(tmp_path / "page.html", f"{width},900")
    assert out["notYet"] == ""
    assert [out["before"], out["last"]] == ["p1_same: RV 1.000", "p4_missed: RV 1.000"]
    assert out["first"].startswith("p3_far: RV")
    assert ": MYO" in out["other"]
    assert out["again"] == out["first"]
    assert out["keyboard"] == [0, "slider", out["first"], "1"]
    assert out["touched"]
    assert out["place"][0] == out["place"][1]
    assert out["marked"] == 2  # one in each plot that was read
    assert out["up"][0] == "p4_missed"
    assert out["up"][-1] == "p1_same"
    assert out["down"] == out["up"][::-1]
    assert out["absentLast"] == "p5_absent"
    assert out["focused"]
    assert out["hd"] == "0.00"
    assert out["slice"] == out["spoken"] == "2"
    assert out["shown"] == ["0"] * 4
    assert out["hidden"]
    assert out["large"] == 1
    assert out["themed"]
    assert out["overflow"] <= 0


LONG_NAMES = """
<script>
addEventListener("load", () => {
  const wider = [...document.querySelectorAll("main > section > :not(.scroll), .hero > *, .findings li, .strip-name")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1 || each.getBoundingClientRect().right > innerWidth);
  const height = (selector) => document.querySelector(selector).getBoundingClientRect().height;
  const summary = document.querySelector(".summary").parentElement;
  const out = {
    page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    wider: wider.map((each) => `${each.tagName} ${each.className}`),
    hidden: summary.scrollWidth - summary.clientWidth,
    lines: height("#cases tbody th") / 24,
  };
  document.body.innerHTML = "<pre id='probe'>" + JSON.stringify(out) + "</pre>";
});
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_long_names_are_broken_and_hide_nothing(tmp_path: Path, width: int):
    names = ["aorta", "left_ventricular_myocardium_without_papillary_muscles", *(f"organ {n}" for n in range(10))]
    rows = [
        (f"HOSPITAL_OF_THE_UNIVERSITY_patient{case:04d}_baseline_series_{case}_with_a_very_long_name_indeed", name, 0.4,
         "ok", 2.0)
        for case in range(4)
        for name in names
    ]  # fmt: skip
    page = write_report(by_hand(tmp_path / "e", rows), tmp_path / "r").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(page.replace("</body>", LONG_NAMES + "</body>"), encoding="utf-8")
    out = probed(tmp_path / "page.html", f"{width},900")
    assert out["page"] <= 0
    assert out["wider"] == []
    assert out["hidden"] <= 0
    if width == 1280:
        assert out["lines"] < 6
