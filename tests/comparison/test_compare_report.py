"""The comparison of segmenter and generator: figures, page, bad input, and the page in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from segcct.cli import main
from segcct.comparison import comparison_run as comparison
from segcct.comparison.compared_case import compare_case
from segcct.comparison.comparison_page import _channels_note, plots_of
from segcct.comparison.comparison_record import CaseFigures, Comparison
from segcct.comparison.comparison_run import write_comparison
from segcct.comparison.comparison_summary import ordered
from segcct.datasets.case import Case
from segcct.errors import DataError, EvaluationError, ModelError, RunError
from segcct.figures import HEAT, heat
from segcct.inference.cycle import Cycles
from segcct.metrics import class_counts, class_dice, label_map_accuracy
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.prediction_request import Request, resolve
from segcct.quality import FEATURES, CalibrationRow
from segcct.quality.calibration_run import calibrate
from segcct.report.html import number
from tests.support.browser import probed, too_wide_for_paper
from tests.support.toy_pair import class_filler, data_section, loaded_case, predictor

NOISE = {"clean": 2.0, "fair": 9.0, "noisy": 14.0}
EMPTY = "empty"
SELECTED = {"metric": "val_dice", "value": 0.9, "cases": 1}


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Three labelled scans of rising noise and one without structures."""
    root = tmp_path_factory.mktemp("scans")
    for name, noise in {**NOISE, EMPTY: 0.5}.items():
        one = loaded_case(foreground=name != EMPTY, noise=noise)
        nib.save(nib.Nifti1Image(one.image[0], one.grid.affine), root / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(one.label, one.grid.affine), root / f"{name}_seg.nii.gz")
    return root


def request_of(root: Path, *, labelled: bool = True) -> Request:
    data = data_section(layout="paired", channels={"ct": "{id}.nii.gz"}, label="{id}_seg.nii.gz")
    cases = [
        Case(name, name, {"ct": (root / f"{name}.nii.gz",)}, (root / f"{name}_seg.nii.gz",) if labelled else None)
        for name in [*NOISE, EMPTY]
    ]
    return Request(tuple(cases), data.model_copy(update={"root": root}))


@pytest.fixture(scope="module")
def cycles() -> Cycles:
    return Cycles(predictor(), class_filler())


@pytest.fixture(scope="module")
def written(scans, cycles, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("compared") / "report"
    write_comparison(cycles, request_of(scans), output)
    return output


@pytest.fixture(scope="module")
def content(written) -> dict:
    return json.loads((written / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def page(written) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def test_of_many_cases_the_page_shows_fewer_slices_each(scans, cycles, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_IMAGES", 8)
    page = write_comparison(cycles, request_of(scans), tmp_path).read_text(encoding="utf-8")
    shown = re.findall(r'data-slices="([\d ]+)"', page)
    assert [len(slices.split()) for slices in shown] == [2] * 4


def test_figures_of_a_case_by_hand(cycles):
    one = loaded_case(noise=0.0)
    found = compare_case(cycles, one, quality=None, channels=1)
    np.testing.assert_array_equal(found.prediction, found.reference)
    assert (found.figures.mean.dice, found.figures.mean.iou) == (1.0, 1.0)
    assert found.figures.pixel_accuracy == 1.0
    assert found.figures.made.distances["foreground"].rmse == pytest.approx(
        0, abs=2e-3
    )  # the generator knows the intensities
    assert found.figures.again.classes == {"low": 1.0, "high": 1.0}
    np.testing.assert_allclose(found.channels["ct"].original, one.image[0] / 100, atol=1e-6)
    np.testing.assert_allclose(found.channels["ct"].reconstruction, one.image[0] / 100, atol=2e-3)


def test_mask_against_the_mask_found_again_by_independent_computation(cycles):
    one = loaded_case(noise=12.0)
    case = cycles.case(one)
    made = cycles.image_cycle(case)
    recovered = cycles.recover(case, made)
    recovered = np.where(recovered == 1, 2, recovered)  # one class taken for the other
    recovered[0, :3] = 1
    table = confusion_matrix(made.label.ravel(), recovered.ravel(), labels=[0, 1, 2])
    counts = class_counts(recovered, made.label, made.classes)
    for index, name in enumerate(("low", "high"), start=1):
        union = table[index].sum() + table[:, index].sum() - table[index, index]
        assert counts[name].iou == pytest.approx(table[index, index] / union)
        assert counts[name].iou == pytest.approx(counts[name].dice / (2 - counts[name].dice))
    accuracy = label_map_accuracy(recovered, made.label)
    assert accuracy == pytest.approx(np.trace(table) / table.sum())
    assert accuracy < 1


def test_the_figures_the_method_is_named_for_are_told(scans, cycles, content, page):
    for name in NOISE:
        case = content["cases"][name]
        one = loaded_case(noise=NOISE[name])
        prepared = cycles.case(one)
        made = cycles.image_cycle(prepared)
        recovered = cycles.recover(prepared, made)
        iou = {name: counts.iou for name, counts in class_counts(recovered, made.label, made.classes).items()}
        assert case["cycle"]["reference"]["iou"]["classes"] == pytest.approx(iou)
        accuracy = label_map_accuracy(recovered, made.label)
        assert case["cycle"]["reference"]["pixel_accuracy"] == pytest.approx(accuracy)
        predicted = case["cycle"]["predicted"]
        assert predicted["iou"]["mean"] == pytest.approx(np.mean(list(predicted["iou"]["classes"].values())))
        whole = case["reconstruction"]["predicted"]["distances"]["whole"]
        assert whole["euclidean"] == pytest.approx(whole["rmse"] * np.sqrt(whole["pixels"]))  # one channel
        assert number(whole["euclidean"], 1) in page
    summary = content["summary"]
    euclidean = [
        case["reconstruction"]["predicted"]["distances"]["whole"]["euclidean"] for case in content["cases"].values()
    ]
    assert summary["regions"][0]["euclidean"] == pytest.approx(np.mean(euclidean))
    assert set(summary["cycle"]["iou"]["predicted"]) >= {"mean", "ci95", "n"}
    accuracies = [case["cycle"]["predicted"]["pixel_accuracy"] for case in content["cases"].values()]
    assert summary["cycle"]["pixel_accuracy"]["predicted"]["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["cycle"]["pixel_accuracy"]["reference"]["n"] == 4
    assert "Euclidean distance" in content["definitions"]
    for words in ("M → I → M&#39; IoU", "M → I → M&#39; pixel accuracy", "Euclidean distance", "its pixel accuracy"):
        assert words in page


def test_report_json_is_read_back_as_it_was_written(content):
    assert Comparison.from_json(content, Path("report.json")).to_json() == content


def test_noise_raises_distance_and_lowers_overlap(content):
    dice = [content["cases"][name]["mean"]["dice"] for name in NOISE]
    rmse = [content["cases"][name]["reconstruction"]["predicted"]["distances"]["whole"]["rmse"] for name in NOISE]
    assert dice == sorted(dice, reverse=True)
    assert rmse == sorted(rmse)
    assert content["order"][-1] == "clean"
    assert content["summary"]["dice"]["n"] == 3


def test_a_case_without_structures_has_no_scores(content, page):
    case = content["cases"][EMPTY]
    assert case["mean"] == {"dice": None, "iou": None}
    assert case["reconstruction"]["predicted"]["gain"] is None
    assert case["reconstruction"]["predicted"]["distances"]["foreground"]["rmse"] is None
    assert case["cycle"]["predicted"]["mean"] is None
    assert {one["status"] for one in case["classes"].values()} == {"absent"}
    assert "Nothing was predicted in empty" in page
    assert ordered(Comparison.from_json(content, Path("report.json")).cases)[0] == EMPTY


def test_the_page_stands_alone(page):
    assert "NaN" not in re.sub(r"base64,[^\"]+", "", page)
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["'(]?https?://""", page)
    assert page.count('<article class="case"') == 4
    for title in ("Original", "Reference", "Predicted mask", "Reconstruction", "Error map"):
        assert page.count(f"<figcaption>{title}</figcaption>") == 4
    assert "10 mm" in page
    pictures = re.findall(r'href="data:image/webp;base64,([^"]+)"', page)
    assert {max(Image.open(io.BytesIO(base64.b64decode(each))).size) for each in pictures} == {320}


def test_a_number_stands_once_in_the_ranking_and_with_its_own_decimals(page, content):
    ranking = page[page.index('<ol class="ranking') :]
    ranking = ranking[: ranking.index("</ol>")]
    for name in NOISE:
        assert content["cases"][name]["mean"]["dice"] is not None
    assert "Dice" not in ranking
    for value in (content["summary"]["pixel_accuracy"], content["summary"]["cycle"]["pixel_accuracy"]["predicted"]):
        assert f"accuracy</h2><b>{value['mean']:.4f}</b>" in page


def test_both_baselines_name_their_columns(page):
    table = page[page.index("Reconstruction error by region") :]
    heads = table[table.index("<thead>") : table.index("</thead>")]
    widths = [int(each) for each in re.findall(r'colspan="(\d+)"', heads)]
    assert widths == [6, 2, 2]
    assert [heads.count(f">{name}</th>") for name in ("Class means", "Slice means", "Reduction")] == [1, 1, 2]
    first_row = re.search(r"<tbody><tr>(.*?)</tr>", table, re.DOTALL)[1]
    assert first_row.count("<td") == sum(widths) + heads.count("From the reference")


def test_columns_are_explained_where_no_mouse_hovers(page):
    assert "<b>Cl. means</b>: RMSE of the class-mean baseline in the foreground; " in page


def test_without_references(scans, cycles, tmp_path):
    write_comparison(cycles, request_of(scans, labelled=False), tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert content["summary"]["with_reference"] == 0
    assert content["summary"]["dice"]["mean"] is None
    assert all(case["pixel_accuracy"] is None for case in content["cases"].values())
    assert "reference" not in content["cases"]["clean"]["reconstruction"]
    assert "<figcaption>Reference</figcaption>" not in page
    assert "not a calibrated estimate" in page
    cases = Comparison.from_json(content, Path("report.json")).cases
    assert plots_of(cases, ["low", "high"]) == []


def test_references_from_a_folder_of_masks(scans, cycles, written, tmp_path):
    for name in NOISE:
        (tmp_path / "masks").mkdir(exist_ok=True)
        shutil.copy(scans / f"{name}_seg.nii.gz", tmp_path / "masks" / f"{name}.nii.gz")
    bare = request_of(scans, labelled=False)
    write_comparison(cycles, bare, tmp_path / "out", references=tmp_path / "masks")
    there, here = (
        json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in (written, tmp_path / "out")
    )
    for name in NOISE:
        assert here["cases"][name] == there["cases"][name]
    assert here["cases"][EMPTY]["pixel_accuracy"] is None


def test_a_folder_without_these_references_is_an_error(scans, cycles, tmp_path):
    (tmp_path / "masks").mkdir()
    shutil.copy(scans / "fair_seg.nii.gz", tmp_path / "masks" / "other.nii.gz")
    with pytest.raises((DataError, EvaluationError), match="other"):
        write_comparison(cycles, request_of(scans), tmp_path / "out", references=tmp_path / "masks")
    assert not (tmp_path / "out").exists()


def test_a_case_that_fails_is_named_and_the_others_are_shown(scans, cycles, tmp_path):
    request = request_of(scans)
    missing = Case("gone", "gone", {"ct": (scans / "gone.nii.gz",)})
    with pytest.raises(DataError, match=r"1 of 2 cases failed; the others are in .*report\.html:\n.*gone\.nii\.gz"):
        write_comparison(cycles, Request((*request.cases[:1], missing), request.data), tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content["cases"]) == ["clean"]
    assert "gone.nii.gz" in content["failed"]["gone"]
    assert "gone.nii.gz" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"gone\.nii\.gz"):
        write_comparison(cycles, Request((missing,), request.data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_generator_of_another_size_is_carried_over(scans, written, tmp_path):
    request = request_of(scans)
    other = Cycles(predictor(), class_filler(fit="resize"))
    write_comparison(other, Request(request.cases[:1], request.data), tmp_path)
    here, there = (
        json.loads((folder / "report.json").read_text(encoding="utf-8"))["cases"]["clean"]
        for folder in (tmp_path, written)
    )
    assert here["mean"] == there["mean"]  # the masks do not change
    made, same = (each["reconstruction"]["predicted"]["distances"]["whole"]["rmse"] for each in (here, there))
    assert 0 < made < 4 * same  # borders blur


def test_the_baseline_is_the_one_of_the_reconstruction(cycles):
    one = loaded_case(noise=5.0)
    case = cycles.case(one)
    made = cycles.image_cycle(case)
    figures = compare_case(cycles, one, quality=None, channels=1).figures.to_json()["reconstruction"]["reference"]
    for name, distance in made.baseline.items():
        assert figures["baseline"][name]["rmse"] == pytest.approx(distance.rmse, rel=1e-5)
    assert figures["gain"] == pytest.approx(made.gain, abs=1e-5)


def test_what_the_style_knows_of_slices_is_no_structure(cycles):
    """A case whose slices differ in brightness: the means of each slice leave its noise alone."""
    one = loaded_case(noise=2.0)
    one.image[:] = np.clip(one.image + np.linspace(0, 10, 5), 0, 100)
    found = compare_case(cycles, one, quality=None, channels=1).figures.to_json()["reconstruction"]["reference"]
    case, slices = (found[name]["low"]["rmse"] for name in ("baseline", "baseline_by_slice"))
    assert slices == pytest.approx(0.02, rel=0.1)
    assert case > 1.5 * slices
    rmse = found["distances"]["foreground"]["rmse"]
    assert found["gain_by_slice"] == pytest.approx(1 - rmse / found["baseline_by_slice"]["foreground"]["rmse"])
    assert found["gain_by_slice"] < found["gain"] < 0.1


def test_the_share_found_again_is_of_one_scale(scans, tmp_path):
    """Masks found in generated and in real images are compared on the same slices, those of the generator."""
    other = Cycles(predictor(), class_filler(fit="resize"))
    write_comparison(other, request_of(scans), tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    cycle = [content["cases"][name]["cycle"] for name in NOISE]
    again, own = (sum(each[which]["mean"] for each in cycle) for which in ("reference", "image"))
    assert content["summary"]["cycle_share_of_dice"] == pytest.approx(again / own)
    case = other.case(loaded_case(noise=NOISE["clean"]))
    found = class_dice(other.probabilities(case).argmax(axis=1), np.asarray(case.for_generator.label), ("low", "high"))
    assert cycle[0]["image"]["classes"] == pytest.approx(found, abs=0.02)
    assert content["cases"][EMPTY]["cycle"]["image"]["mean"] is None


@pytest.mark.parametrize(
    ("generator", "said"),
    [("best", "is not a generator"), ("gone", "is not a model folder")],
)
def test_what_is_no_generator_is_refused(trained, phantom, tmp_path, capsys, generator, said):
    command = ["compare", "--i2m", str(trained / "best"), "--m2i", str(trained / generator), "--input", str(phantom)]
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_generator_of_another_scheme_is_refused():
    other = class_filler(labels={"low": 3, "high": 8})
    other.scheme = type(other.scheme)("custom", {"low": 3, "high": 8})
    with pytest.raises(ModelError, match="differ in the label scheme"):
        Cycles(predictor(), other)


def test_a_missing_channel_is_named(scans, tmp_path):
    card_of = predictor().card
    with pytest.raises(DataError, match="ct"):
        resolve(card_of, tmp_path)


def test_one_scan_by_itself(scans, cycles, tmp_path):
    request = resolve(cycles.predictor.card, scans / "fair.nii.gz")
    assert request.single
    write_comparison(cycles, request, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content["cases"]) == ["fair"]
    assert content["cases"]["fair"]["classes"]["low"]["status"] == "predicted"


def test_estimates_stand_on_the_page(scans, cycles, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        CalibrationRow(f"p{number}", f"p{number}", name, {**dict.fromkeys(FEATURES), "expected_dice": share}, share)
        for number in range(24)
        for name in ("low", "high")
        for share in [float(rng.uniform(0.4, 0.98))]
    ]
    quality = calibrate(rows, ("low", "high"), sources=["run"])
    write_comparison(cycles, request_of(scans, labelled=False), tmp_path, quality=quality)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in NOISE:
        one = content["cases"][name]["estimate"]["low"]
        assert 0 <= one["low"] <= one["dice"] <= one["high"] <= 1
    assert content["cases"][EMPTY]["estimate"] == {"low": None, "high": None}
    flagged = [
        name
        for name in [*NOISE, EMPTY]
        if any(one is None or one["dice"] < 0.7 for one in content["cases"][name]["estimate"].values())
    ]
    assert EMPTY in flagged  # in the calibration nothing was ever left unpredicted
    assert content["cases"][EMPTY]["missing"] == ["low", "high"]
    assert sorted(content["summary"]["flagged"]) == sorted(flagged)
    assert "not predicted, counted as 0" in page
    assert "of 4 cases without reference, scheme custom" in page
    assert "Calibration of the estimated Dice" in page
    assert quality.facts["summary"][:40] in page
    assert "all features <em>in use</em>" in page
    assert content["quality"]["summary"] == quality.facts["summary"]
    assert content["quality"]["leave_one_out"] == quality.facts["leave_one_out"]
    assert content["quality"]["sources"] == ["run"]
    hidden = tmp_path / "hidden"
    write_comparison(cycles, request_of(scans, labelled=False), hidden, quality=quality, anonymize=True)
    assert "sources" not in json.loads((hidden / "report.json").read_text(encoding="utf-8"))["quality"]


def test_a_missed_structure_is_trusted_less_than_a_poor_mask():
    def case(missing: list[str], **estimates: float | None) -> CaseFigures:
        given = {name: None if dice is None else {"dice": dice} for name, dice in estimates.items()}
        return CaseFigures(
            patient="p", slices=1, classes={}, mean={}, pixel_accuracy=None, reconstruction={}, cycle={},
            estimate=given, missing=missing,
        )  # fmt: skip

    cases = {
        "complete": case([], RV=0.7, MYO=0.7, LV=0.7),
        "missed": case(["RV"], RV=None, MYO=0.9, LV=0.95),
        "absent": case([], RV=None, MYO=0.9, LV=0.95),
    }
    assert ordered(cases) == ["missed", "complete", "absent"]
    assert cases["missed"].trust == pytest.approx((0 + 0.9 + 0.95) / 3)
    assert [each.flagged(0.7) for each in cases.values()] == [[], ["RV"], []]


def test_nothing_is_overwritten(scans, cycles, written):
    before = (written / "report.html").stat().st_mtime_ns
    with pytest.raises(RunError, match="exists already"):
        write_comparison(cycles, request_of(scans), written)
    assert (written / "report.html").stat().st_mtime_ns == before


def test_a_case_too_large_for_the_memory_does_not_cost_the_others(scans, cycles, tmp_path, monkeypatch):
    usual, asked = comparison.compare_case, []

    def fails_once(*given: object, **more: object) -> object:
        asked.append(given)
        if len(asked) == 1:
            raise MemoryError
        return usual(*given, **more)

    monkeypatch.setattr(comparison, "compare_case", fails_once)
    with pytest.raises(DataError, match="too little memory"):
        write_comparison(cycles, request_of(scans), tmp_path, anonymize=True)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content["failed"].values()) == ["too little memory"]
    assert len(content["cases"]) == 3


def test_a_page_that_shows_some_channels_says_so(scans, cycles, tmp_path):
    write_comparison(cycles, request_of(scans), tmp_path)
    assert "Images show" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    row = SimpleNamespace(channels={"flair": "", "t1ce": ""})
    told = _channels_note({"a": row}, ["flair", "t1ce", "t1", "t2"])
    assert told == "Images show flair and t1ce of 4 channels, so that the page stays small."


def test_at_least_one_slice_is_shown(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--i2m", "a", "--m2i", "b", "--input", "c", "--output", "d", "--slices", "0"])
    assert "0 is not a whole number of at least 1" in capsys.readouterr().err


def test_names_can_be_hidden(scans, cycles, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["segcct", "compare", "--input", str(scans)])
    monkeypatch.setattr(cycles.predictor, "card", cycles.predictor.card.model_copy(update={"selected_on": SELECTED}))
    request = request_of(scans)
    missing = Case("gone", "gone", {"ct": (scans / "gone.nii.gz",)})
    models = {"I2M": scans / "best", "M2I": scans / "best"}
    every = Request((*request.cases, missing), request.data)
    with pytest.raises(DataError, match="1 of 5 cases failed"):
        write_comparison(cycles, every, tmp_path, anonymize=True, models=models)
    for name in ("report.html", "report.json"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        for secret in ("noisy", "gone", str(scans)):
            assert secret not in text
        assert "case_" in text
        assert "a file is missing or cannot be read" in text
        assert "val_dice" in text


def test_the_error_scale_rises_from_black():
    colours = heat(np.array([0.0, 0.5, 1.0, 2.0, np.nan]))
    assert colours[0].tolist() == [0, 0, 4]
    assert colours[2].tolist() == colours[3].tolist() == [252, 255, 164]
    assert colours[4].tolist() == colours[0].tolist()
    lightness = heat(np.linspace(0, 1, 64)).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) >= 0).all()
    assert len(HEAT) == 9


PROBE = """
<script>
window.addEventListener("load", () => {
  const out = { width: window.innerWidth };
  const key = (name) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const seen = () => [...document.querySelectorAll(".case")].filter((one) => one.offsetParent !== null);
  document.querySelector(".gallery").scrollIntoView({ behavior: "instant" });
  out.first = seen().map((one) => one.querySelector(".case-name").textContent);
  key("n");
  out.second = seen().map((one) => one.querySelector(".case-name").textContent);
  const article = seen()[0], slider = article.querySelector("input[type=range]");
  slider.value = "0"; slider.dispatchEvent(new Event("input"));
  key("ArrowRight");
  out.slice = slider.value;
  out.shown = [...article.querySelectorAll("svg[data-slice]")]
    .filter((svg) => svg.style.display !== "none").map((svg) => svg.dataset.slice);
  article.querySelector('.step[data-step="-1"]').click();
  out.back = slider.value;
  article.querySelector(".legend button").click();
  out.hidden = [...article.querySelectorAll("path.k1")].every((path) => path.style.display === "none");
  const heads = document.querySelectorAll("#cases thead button");
  const column = () => [...document.querySelectorAll("#cases tbody tr")].map((row) => row.cells[0].textContent.trim());
  heads[1].click(); out.up = column();
  heads[1].click(); out.down = column();
  document.querySelector('#cases a[href="#case-1"]').click();
  out.linked = seen().map((one) => one.id);
  out.focused = document.activeElement.id;
  out.letters = [...article.querySelectorAll(".picture")].length;
  const boxes = [...document.querySelectorAll(".case.current figure")].map((one) => one.getBoundingClientRect());
  out.overlap = boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
  const before = getComputedStyle(document.body).backgroundColor;
  document.getElementById("theme").click();
  out.themed = getComputedStyle(document.body).backgroundColor !== before;
  out.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  parent.postMessage(JSON.stringify(out), "*");
});
</script>
"""
FRAME = """
<iframe src="page.html" style="border:0;width:{width}px;height:800px"></iframe>
<script>
window.addEventListener("message", (told) => {{
  document.body.innerHTML = "<pre id='probe'>" + told.data + "</pre>";
}});
</script>
"""
"""A browser's own window cannot be as narrow as a phone's."""


@pytest.mark.slow
def test_tables_fit_on_paper(page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert too_wide_for_paper(tmp_path / "page.html") == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_works_in_a_browser(page, tmp_path, width):
    (tmp_path / "page.html").write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    out = probed(tmp_path / "frame.html", "1400,900")
    assert out["width"] == width
    assert out["first"] == [EMPTY]
    assert out["second"] == ["noisy"]
    assert out["slice"] == "1"
    assert out["shown"] == ["1"] * 5
    assert out["back"] == "0"
    assert out["hidden"]
    assert out["up"][0] == "noisy"
    assert out["up"][-1] == out["down"][-1] == EMPTY  # not defined stays last
    assert out["linked"] == ["case-1"]
    assert out["focused"] == "case-1"
    assert not out["overlap"]
    assert out["themed"]
    assert out["overflow"] <= 0


def test_the_key_of_masks_in_the_same_folder_stays(scans, cycles, tmp_path):
    predict_folder(cycles.predictor, request_of(scans), tmp_path, MaskOptions(anonymize=True))
    before = json.loads((tmp_path / "sources.json").read_text(encoding="utf-8"))
    write_comparison(cycles, request_of(scans), tmp_path, anonymize=True)
    after = json.loads((tmp_path / "sources.json").read_text(encoding="utf-8"))
    assert after == before
    assert set(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"]) == set(before["cases"])


def test_names_whose_key_is_not_there_are_not_overwritten(scans, cycles, tmp_path):
    (tmp_path / "sources.json").write_text('{"cases": {}}')
    with pytest.raises(RunError, match="holds no key of hashed names"):
        write_comparison(cycles, request_of(scans), tmp_path, anonymize=True)
    assert (tmp_path / "sources.json").read_text() == '{"cases": {}}'
