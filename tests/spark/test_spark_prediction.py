"""Predictions in tasks of Spark: the same masks and tables as of one process, kept after anything."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from segcct.cli import main
from tests.support.spark_commands import masks, predict_command

pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'segcct[spark]'")

SPARK = ("--engine", "spark", "--master", "local[2]")


def predict(run: Path, scans: Path, output: Path, *options: str) -> int:
    return main(predict_command(run, scans, output, *options))


def test_masks_are_identical_and_outcomes_are_rows(spark, trained, scans, here, tmp_path):
    there = tmp_path / "masks"
    assert predict(trained, scans, there, *SPARK) == 0
    assert masks(there) == masks(here)
    assert len(masks(here)) >= 4
    entries = json.loads((there / "predictions.json").read_text())["cases"]
    rows = {row["case"]: row for row in pyarrow.read_table(there / "outcomes.parquet").to_pylist()}
    assert rows.keys() == entries.keys()
    for name, row in rows.items():
        assert (row["status"], row["reason"], row["digest"]) == ("done", None, entries[name]["digest"])
        assert row["seconds"] > 0
    assert not list(there.glob(".cases*"))


def test_failures_are_rows_and_continue_does_the_rest(spark, trained, scans, here, tmp_path, capsys):
    broken, there = Path(shutil.copytree(scans, tmp_path / "scans")), tmp_path / "masks"
    file = next(sorted(broken.iterdir())[1].glob("*t1.nii.gz"))
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert predict(trained, broken, there, *SPARK) == 1
    said = capsys.readouterr().err
    assert "1 of 4 cases failed and got no new mask" in said
    assert file.name in said
    rows = {row["case"]: row for row in pyarrow.read_table(there / "outcomes.parquet").to_pylist()}
    failed = rows[file.parent.name]
    assert failed["status"] == "failed"
    assert file.name in failed["reason"]
    file.write_bytes(whole)
    times = {mask: mask.stat().st_mtime_ns for mask in there.glob("*.nii.gz")}
    assert predict(trained, broken, there, *SPARK, "--continue") == 0
    assert masks(there).keys() == masks(here).keys()
    assert {mask: mask.stat().st_mtime_ns for mask in times} == times  # not done twice


def test_a_dry_run_says_cases_gigabytes_and_time_and_writes_nothing(spark, trained, scans, tmp_path, capsys):
    assert predict(trained, scans, tmp_path / "masks", *SPARK, "--dry-run") == 0
    said = capsys.readouterr().out
    assert re.search(r"4 cases of \d+ kB; 3 of them took ", said)
    assert " on 2 workers; with more workers like these, " in said
    assert not list(tmp_path.iterdir())
