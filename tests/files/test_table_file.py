"""Tables: harmless for a spreadsheet, read back as they were, for their owner alone where they name patients."""

from __future__ import annotations

import stat

import numpy as np
import pytest

from segcct.errors import DataError
from segcct.files.table_file import read_rows_of, write_csv, write_records
from segcct.predictions.case_tables import merge_rows
from segcct.predictions.quality_rows import COLUMNS, read_rows
from segcct.tasks.classification.class_results import _read_image_results, write_image_results
from segcct.tasks.classification.probability_table import read_table, write_table

HOSTILE = ("=HYPERLINK(A1)", "@a", "a\nb", "plain", "'=1")


def test_rows_come_back_as_they_were_and_numbers_stay_numbers(tmp_path):
    file = tmp_path / "t.csv"
    write_csv(file, ["case", "difference"], [[name, -0.5] for name in HOSTILE])
    assert [row["case"] for row in read_rows_of(file)] == list(HOSTILE)
    text = file.read_text(encoding="utf-8")
    assert "\n=" not in text
    assert "'=HYPERLINK(A1),-0.5" in text


def test_records_leave_out_what_has_no_column_and_fill_what_is_missing(tmp_path):
    write_records(tmp_path / "t.csv", ["a", "b"], [{"a": "1", "c": "2"}])
    assert read_rows_of(tmp_path / "t.csv") == [{"a": "1", "b": ""}]
    with pytest.raises(DataError, match="no such file"):
        read_rows_of(tmp_path / "gone.csv")


def test_probabilities_quality_and_pictures_survive_hostile_names(tmp_path):
    rows = {name: np.array([0.25, 0.75]) for name in HOSTILE}
    write_table(tmp_path / "predictions.csv", rows, ["=a", "b"])
    table = read_table(tmp_path / "predictions.csv")
    assert set(table.ids) == set(HOSTILE)
    assert table.classes == ("=a", "b")
    row = dict.fromkeys(COLUMNS[1:], "") | {"class": "=c"}
    merge_rows(tmp_path, {name: {"quality.csv": [row]} for name in HOSTILE}, listed=HOSTILE)
    assert [row["case"] for row in read_rows(tmp_path / "quality.csv")] == sorted(HOSTILE)
    write_image_results(tmp_path / "images.csv", HOSTILE, np.full((5, 2), 0.5), np.zeros(5, int), ["=a", "b"])
    assert [result.image for result in _read_image_results(tmp_path / "images.csv")] == list(HOSTILE)
    for file in tmp_path.iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line[:1] in "=+@\t"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_modes(tmp_path, private, mode):
    write_csv(tmp_path / "t.csv", ["a"], [], private=private)
    assert stat.S_IMODE((tmp_path / "t.csv").stat().st_mode) == mode
