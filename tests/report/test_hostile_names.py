"""Scans whose names and headers are hostile, from prediction to page: nothing of them becomes markup, a formula or a
command of the terminal, and every case is still found."""

from __future__ import annotations

import csv
import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from segcct.cli import main
from segcct.comparison.comparison_run import write_comparison
from segcct.datasets.case import Case
from segcct.evaluation.evaluate_folders import evaluate
from segcct.inference.cycle import Cycles
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import Request
from segcct.report.segmentation_page import write_report
from segcct.report.slice_image import write_picture
from tests.support.toy_pair import class_filler, data_section, loaded_case, predictor

CLEAR = "\x1b[2J"
NAMES = (
    "<img src=x onerror=alert(1)>",
    "=HYPERLINK(A1)",
    f"{CLEAR}cleared",
    "two\nlines",
    "<script>'\"&",
    "@SUM",
    os.fsdecode(b"\xff\xfe"),
)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="such names need a POSIX file system")


class Tags(HTMLParser):
    """The tags and handlers that a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]


@pytest.fixture
def request_of(tmp_path) -> Request:
    root = tmp_path / "scans"
    root.mkdir()
    cases = []
    for name in NAMES:
        one = loaded_case()
        scan, label = root / f"{name}_ct.nii.gz", root / f"{name}_seg.nii.gz"
        one.grid.save(scan)
        one.grid.with_array(one.label).save(label)
        cases.append(Case(name, name, {"ct": (scan,)}, (label,)))
    data = data_section(layout="paired", channels={"ct": "{id}_ct.nii.gz"}, label="{id}_seg.nii.gz", root=root)
    return Request(tuple(cases), data)


@pytest.fixture
def evaluated(request_of, tmp_path) -> Path:
    predict_folder(predictor(), request_of, tmp_path / "p")
    evaluate(tmp_path / "p", tmp_path / "scans", output=tmp_path / "e")
    return tmp_path / "e"


def test_every_case_is_scored_and_no_cell_is_a_formula(evaluated):
    assert set(json.loads((evaluated / "summary.json").read_text())["files"]) == set(NAMES)
    for table in evaluated.glob("*.csv"):
        with table.open(newline="", encoding="utf-8") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell[:1] in set("=@+\t\r")]
        assert not [cell for cell in cells if cell.startswith("-") and not float(cell) < 0]


def test_pages_hold_the_names_as_text(evaluated, tmp_path):
    seen = Tags(write_report(evaluated, tmp_path / "r").read_text(encoding="utf-8"))
    assert "img" not in seen.tags
    assert not seen.handlers
    for name in NAMES:  # found again in the tables, so drawn
        assert write_picture(evaluated, tmp_path / "case.png", case=name).is_file()


def test_the_comparison_holds_them_as_text_too(request_of, tmp_path):
    page = write_comparison(Cycles(predictor(), class_filler()), request_of, tmp_path / "c", slices=1)
    seen = Tags(page.read_text(encoding="utf-8"))
    assert "img" not in seen.tags
    assert not seen.handlers


def test_messages_about_them_obey_nothing(evaluated, tmp_path, capsys):
    for file in (tmp_path / "p").glob("*.nii.gz"):
        file.write_bytes(b"damaged")
    folders = ["--prediction", str(tmp_path / "p"), "--reference", str(tmp_path / "scans")]
    assert main(["evaluate", *folders, "--output", str(tmp_path / "again")]) == 1
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert r"\x1b[2Jcleared" in shown.err
