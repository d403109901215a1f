"""The classification page: what its sentences say, which pictures it shows, and what it does without them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcct.errors import EvaluationError
from segcct.figures.tokens import enlarged, token_overlay, tokens_for_half
from segcct.files.json_file import write_json
from segcct.tasks.classification.class_evaluation import scores
from segcct.tasks.classification.class_images import gallery, surest_mistakes, typical_images
from segcct.tasks.classification.class_page import Confusion, class_findings, confusions, write_class_report
from segcct.tasks.classification.class_results import read_class_results, write_image_results
from tests.support.browser import probed

CLASSES = ("cat", "dog", "owl")
#          true, probabilities
TABLE = [
    (0, [0.9, 0.1, 0.0]),
    (0, [0.8, 0.1, 0.1]),
    (0, [0.6, 0.4, 0.0]),
    (0, [0.2, 0.7, 0.1]),
    (1, [0.1, 0.8, 0.1]),
    (1, [0.55, 0.45, 0.0]),
    (1, [0.95, 0.05, 0.0]),
    (2, [0.3, 0.4, 0.3]),
]


def evaluation(folder: Path, table: list = TABLE, classes: tuple[str, ...] = CLASSES, **more: object) -> Path:
    """An evaluation folder of these probabilities."""
    labels = np.array([true for true, _ in table])
    probabilities = np.array([row for _, row in table])
    ids = [f"{classes[true]}/{place}.png" for place, true in enumerate(labels)]
    folder.mkdir(parents=True)
    write_image_results(folder / "images.csv", ids, probabilities, labels, classes)
    write_json(folder / "summary.json", {**scores(probabilities, labels, classes, ids).to_json(), **more})
    return folder


@pytest.fixture
def results(tmp_path: Path):
    return read_class_results(evaluation(tmp_path / "evaluation"))


def test_confusions_go_by_share_of_the_true_class(results):
    assert results.summary.confusion == [[3, 1, 0], [2, 1, 0], [0, 1, 0]]
    assert confusions(results) == [
        Confusion("owl", "dog", 1, 1),
        Confusion("dog", "cat", 2, 3),
        Confusion("cat", "dog", 1, 4),
    ]


def test_findings_say_what_the_tables_say(results):
    text = " ".join(class_findings(results))
    assert "cat is classified best (F1 0.667), owl worst (0.000)" in text
    assert "Never predicted: owl." in text
    assert "owl predicted as dog, in 1 of 1 image (100%)" in text
    assert "overconfident: confidence 0.713, accuracy 0.500" in text


def test_findings_of_a_perfect_model(tmp_path):
    table = [(true, np.eye(3)[true].tolist()) for true in (0, 1, 2, 0)]
    text = " ".join(class_findings(read_class_results(evaluation(tmp_path / "e", table))))
    assert "No image was classified wrongly." in text
    assert "well calibrated" in text


def test_the_page_names_the_split_that_was_classified(tmp_path):
    data = {"layout": "classes", "root": "pictures"}
    folder = evaluation(tmp_path / "evaluation", data=data, selection="test")
    page = write_class_report(folder, tmp_path / "report").read_text(encoding="utf-8")
    images = page[page.index(">Images</h3>") :]
    assert "<dt>root</dt>" in images
    assert "<dt>selection</dt><dd><code>test</code>" in images


def test_the_reliability_diagram_names_both_axes(tmp_path):
    page = write_class_report(evaluation(tmp_path / "evaluation"), tmp_path / "report").read_text(encoding="utf-8")
    assert '<p class="y-name">Accuracy</p>' in page
    assert "Confidence: probability of the predicted class</p>" in page


def test_fractions_of_the_matrix_are_written_in_its_cells(tmp_path):
    """A text that only a mouse can bring up is lost on touch screens and paper."""
    page = write_class_report(evaluation(tmp_path / "evaluation"), tmp_path / "report").read_text(encoding="utf-8")
    matrix = page[page.index('<table class="matrix">') :].partition("</table>")[0]
    assert re.findall(r">(\d+)(?:<small>(.*?)</small>)?</td>", matrix) == [
        *(("3", "75%"), ("1", "25%"), ("0", "")),
        *(("2", "67%"), ("1", "33%"), ("0", "")),
        *(("0", ""), ("1", "100%"), ("0", "")),
    ]
    assert "hover" not in page.lower().replace(":hover", "")


MATRIX = """
<script>
addEventListener("load", () => {
  const lines = (head) => {
    const range = document.createRange();
    range.selectNodeContents(head);
    return range.getClientRects().length;
  };
  const out = {
    words: [...document.querySelectorAll(".matrix thead th + th")].map(lines),
    page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const scroller = document.querySelector(".matrix").parentElement;
  scroller.scrollLeft = 300;
  const name = document.querySelector(".matrix tbody th").getBoundingClientRect();
  out.named = scroller.scrollLeft > 0 && name.left >= scroller.getBoundingClientRect().left - 1;
  document.body.innerHTML = "<pre id='probe'>" + JSON.stringify(out) + "</pre>";
});
</script>
"""


@pytest.mark.slow
def test_the_matrix_breaks_no_short_word_and_keeps_its_names_in_view(tmp_path):
    classes = tuple(f"diagnosis{number}" for number in range(20))
    table = [(number, np.eye(20)[number].tolist()) for number in range(20)]
    file = write_class_report(evaluation(tmp_path / "evaluation", table, classes), tmp_path / "report")
    file.write_text(file.read_text(encoding="utf-8").replace("</body>", MATRIX + "</body>"), encoding="utf-8")
    out = probed(file, "1280,900")
    assert set(out["words"]) == {1}
    assert out["named"]
    assert out["page"] <= 0


def test_left_out_pictures_are_named(tmp_path):
    folder = evaluation(tmp_path / "e", unmatched={"references": ["a", "b"], "predictions": []})
    assert "Not scored: 2 images without a prediction." in class_findings(read_class_results(folder))


def test_which_pictures_are_shown(results):
    assert [(one.image, one.confidence) for one in typical_images(results)] == [
        ("cat/1.png", 0.8),
        ("dog/4.png", 0.8),
    ]
    assert [one.image for one in surest_mistakes(results)] == ["dog/6.png", "cat/3.png", "dog/5.png", "owl/7.png"]


def test_a_page_without_pictures_says_why(tmp_path):
    folder = evaluation(tmp_path / "e")
    page = write_class_report(folder, tmp_path / "out").read_text(encoding="utf-8")
    assert "No images: the evaluation does not say where its images are." in page
    for word in (
        "0.500",
        "not defined",
        "dog predicted as cat: 2 (66.7% of dog)",
        "Calibration error",
        "For research use",
    ):
        assert word in page
    gone = evaluation(tmp_path / "gone", data={"root": "/nowhere", "layout": "classes"})
    assert "/nowhere: no such dataset" in gallery(read_class_results(gone)).problem


def test_a_folder_that_cannot_be_read_costs_no_other_images(tmp_path, monkeypatch):
    reading = {"root": str(tmp_path / "data"), "image_size": 16, "layout": "classes"}
    results = read_class_results(evaluation(tmp_path / "e", data=reading))
    for one in results.images:
        file = tmp_path / "data" / one.image
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(file)
    scandir, shut = os.scandir, tmp_path / "data" / "others"
    shut.mkdir()

    def refused(path: str | Path) -> object:
        if Path(path) == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert len(gallery(results).mistakes) == 4


def test_a_page_of_many_classes_has_no_matrix(tmp_path):
    classes = tuple(f"kind{number}" for number in range(30))
    rng = np.random.default_rng(0)
    table = [(number % 30, rng.dirichlet(np.ones(30)).tolist()) for number in range(90)]
    page = write_class_report(evaluation(tmp_path / "e", table, classes), tmp_path / "out").read_text(encoding="utf-8")
    assert '<table class="matrix">' not in page
    assert "Most frequent mistakes" in page
    assert "Top 5" in page


def test_names_are_escaped(tmp_path):
    classes = ("<b>cat", "dog", "owl")
    page = write_class_report(evaluation(tmp_path / "e", TABLE, classes), tmp_path / "out").read_text(encoding="utf-8")
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat" in page


DAMAGE = {
    "no summary": (lambda folder: (folder / "summary.json").unlink(), "summary.json: no such file"),
    "no table": (lambda folder: (folder / "images.csv").unlink(), "images.csv: no such file"),
    "no overall": (lambda folder: write_json(folder / "summary.json", {"classes": {}}), "Field required"),
    "other columns": (lambda folder: (folder / "images.csv").write_text("a,b\n1,2\n"), "columns are missing"),
    "no number": (
        lambda folder: (folder / "images.csv").write_text(
            (folder / "images.csv").read_text(encoding="utf-8").replace("0.9,0.9", "0.9,high")
        ),
        "not a number",
    ),
    "fewer rows": (
        lambda folder: (folder / "images.csv").write_text(
            "".join((folder / "images.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:-1])
        ),
        "different evaluations",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folders(tmp_path, name):
    damage, words = DAMAGE[name]
    folder = evaluation(tmp_path / "e")
    damage(folder)
    with pytest.raises(EvaluationError, match=words):
        write_class_report(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_summary_is_read_back_as_it_was_written(results):
    content = json.loads((results.folder / "summary.json").read_text(encoding="utf-8"))
    assert results.summary.to_json() == content


def test_summaries_hold_no_nan(tmp_path):
    json.loads((evaluation(tmp_path / "e") / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


# pictures of tokens


def test_even_weights_are_no_find():
    """Equal weights show a quarter of the scale everywhere; a single heavy token shows palest where it is."""
    image = np.full((8, 8, 3), 128, np.uint8)
    even = token_overlay(image, np.full((4, 4), 1 / 16), 64)
    one = np.full((4, 4), 0.01)
    one[0, 3] = 0.85
    single = token_overlay(image, one, 64)
    assert np.ptp(even.reshape(-1, 3), axis=0).max() == 0
    assert single[4, 60].sum() > even[4, 60].sum() > single[60, 4].sum() - 60
    assert single[4, 60].sum() - single[60, 4].sum() > 200


@pytest.mark.parametrize(
    ("shares", "expected"), [([0.25] * 4, 0.5), ([0.97, 0.01, 0.01, 0.01], 0.25), ([0.4, 0.3, 0.2, 0.1], 0.5)]
)
def test_tokens_that_hold_half(shares, expected):
    assert tokens_for_half(np.array(shares).reshape(2, 2)) == expected


def test_small_pictures_keep_their_pixels():
    image = np.arange(2 * 2 * 1, dtype=np.uint8).reshape(2, 2, 1) * 60
    shown = enlarged(image, 8)
    assert shown.shape == (8, 8, 3)
    np.testing.assert_array_equal(shown[::4, ::4, 0], image[..., 0])
