"""The inventory of a dataset: what the start of a training reads, and what it may leave unread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segcct.config import DataSection
from segcct.datasets.inventory import Inventory
from segcct.errors import VolumeError
from segcct.files import file_memo
from segcct.files.file_memo import FileMemo, key_of

STEPS = """
import hashlib, json, os, sys, zlib
from collections import Counter
from pathlib import Path
from segcct.config import DataSection
from segcct.datasets import inventory, layouts
from segcct.files import file_memo
from segcct.tasks.training_dataset import count_slices, describe_splits, find_cases, load_dataset

file_memo.SETTLED_NS = 0  # the files were written a moment ago
root, cache = Path(sys.argv[1]), Path(sys.argv[2])
opened, listed, counts = Counter(), Counter(), Counter()

def listen(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(root)):
        opened[arguments[0]] += 1
    if event in ("os.scandir", "os.listdir") and str(arguments[0]).startswith(str(root)):
        listed[str(arguments[0])] += 1

def counting(place, name):
    usual = getattr(place, name)
    def counted(*arguments, **options):
        counts[name] += 1
        return usual(*arguments, **options)
    setattr(place, name, counted)

for place, name in (
    (hashlib, "file_digest"), (zlib, "crc32"), (inventory, "make_splits"), (layouts, "read_case")
):
    counting(place, name)
sys.addaudithook(listen)
data = DataSection(
    layout="folder", root=root, channels={"t1": "t1.nii.gz"}, label="seg.nii.gz", scheme="acdc", cache=cache,
    image_size=16, fit="resize",
)
for step in sys.argv[3:]:
    opened.clear()
    listed.clear()
    counts.clear()
    if step == "plan":
        found = find_cases(data)
        describe_splits(found)
        counts["slices"] = count_slices(found.splits.select(found.cases, "train"), found)
        counts["cache"] = cache.exists()
    elif step == "train":
        dataset = load_dataset(data)
        counts["shown"] = sum(case.shown is not None for case in dataset.val)
    else:  # other bytes, of the same size and date
        file = root / dataset.train[0].case_id / "seg.nii.gz"
        dates, content = file.stat(), bytearray(file.read_bytes())
        content[4] ^= 1  # the time in the gzip header
        file.write_bytes(content)
        os.utime(file, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    counts["listings"] = max(listed.values(), default=0)
    print(json.dumps({"files": len(opened), "opens": max(opened.values(), default=0), **counts}))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight cases of 4 slices."""
    rng = np.random.default_rng(0)
    label = np.zeros((12, 12, 4), np.uint8)
    label[3:8, 4:9, 1:3], label[4:6, 5:7, 1:3] = 1, 2
    for number in range(8):
        folder = tmp_path / "scans" / f"p{number}"
        folder.mkdir(parents=True)
        for name, array in (("t1", rng.integers(1, 90, label.shape).astype(np.int16)), ("seg", label)):
            nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 8, 1])), folder / f"{name}.nii.gz")
    return tmp_path / "scans"


def steps(root: Path, *which: str) -> list[dict[str, int]]:
    """What each step of a process counts."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(root), str(root.parent / "cache"), *which],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def section(root: Path, **changes: object) -> DataSection:
    known = {"layout": "folder", "channels": {"t1": "t1.nii.gz"}, "label": "seg.nii.gz", "scheme": "acdc"}
    return DataSection.model_validate({**known, "root": root, "cache": root.parent / "cache", **changes})


def test_a_warm_start_reads_no_file_twice(root: Path) -> None:
    plan, cold, _, warm, _, changed = steps(root, "plan", "train", "train", "train", "change", "train")
    assert (plan["files"], plan["opens"]) == (16, 1)
    assert plan["slices"] == 24
    assert plan["listings"] == plan["make_splits"] == 1
    assert not plan["cache"]

    assert cold["read_case"] == 7  # all but the test case; drawing decodes none of them again
    assert cold["file_digest"] == 14
    assert cold["listings"] == cold["make_splits"] == 1

    assert warm["shown"] == 1
    assert warm["opens"] <= 1
    assert warm["listings"] == warm["make_splits"] == 1
    assert not warm.keys() & {"file_digest", "crc32", "read_case"}

    assert changed["files"] == 2  # its image is decoded again too
    assert changed["file_digest"] == changed["read_case"] == 1
    (memo,) = (root.parent / "cache").glob(".*.memo")
    assert memo.stat().st_mode & 0o777 == 0o600


def test_headers_are_those_of_the_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_memo, "SETTLED_NS", 0)
    first = Inventory(section(root), remember=True)
    file = first.cases[0].channels["t1"][0]
    read = first.header(file, "t1.nii.gz")
    first.memo.save()
    second = Inventory(section(root), remember=True)
    monkeypatch.setattr("segcct.datasets.inventory._facts_of", None)
    known = second.header(file, "t1.nii.gz")
    assert known.shape == read.shape == (12, 12, 4)
    assert known.spacing_mm == read.spacing_mm == (1.5, 1.5, 8.0)
    np.testing.assert_array_equal(known.affine, read.affine)
    monkeypatch.undo()
    file.unlink()
    with pytest.raises(VolumeError, match=r"t1\.nii\.gz"):
        Inventory(section(root)).header(file, "t1.nii.gz")


def _no_number(value: object) -> bool:
    return isinstance(value, str)


class TestFileMemo:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(file_memo, "SETTLED_NS", 0)
        (tmp_path / "a").write_bytes(b"1")
        return tmp_path / "a"

    def kept(self, file: Path, value: str = "first") -> Path:
        """A memo of the file on disk."""
        memo = FileMemo(file.parent / "cache" / "memo", "1")
        assert memo.value("kind", file, lambda: value, _no_number) == value
        memo.save()
        return file.parent / "cache" / "memo"

    def asked(self, file: Path, path: Path, version: str = "1", kind: str = "kind") -> str:
        return FileMemo(path, version).value(kind, file, lambda: "second", _no_number)

    def test_an_unchanged_file_keeps_its_values(self, file: Path) -> None:
        path = self.kept(file)
        assert self.asked(file, path) == "first"
        assert self.asked(file, path, kind="other") == "second"
        assert self.asked(file, path, version="2") == "second"

    def test_any_change_of_the_file_counts(self, file: Path, tmp_path: Path) -> None:
        path = self.kept(file)
        before = file.stat()
        file.write_bytes(b"2")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert self.asked(file, path) == "second"
        path = self.kept(file)
        (tmp_path / "b").write_bytes(b"2")
        os.utime(tmp_path / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "b").replace(file)
        assert self.asked(file, path) == "second"

    def test_a_file_of_a_moment_ago_is_not_kept(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_memo, "SETTLED_NS", 60 * 10**9)
        path = self.kept(file)
        assert not path.exists()
        assert self.asked(file, path) == "second"

    def test_a_file_that_changes_while_it_is_read_is_not_kept(self, file: Path) -> None:
        memo = FileMemo(file.parent / "memo")

        def write() -> str:
            file.write_bytes(b"much more")
            return "half"

        assert memo.value("kind", file, write, _no_number) == "half"
        assert memo.value("kind", file, lambda: "whole", _no_number) == "whole"

    @pytest.mark.parametrize(
        "damage",
        [
            b"",
            b"{",
            b"[]",
            b'{"files": []}',
            b'{"version": "1", "digest": "", "files": {"a": [[1], {}]}}',
            "other value",
        ],
    )
    def test_a_damaged_memo_counts_as_empty(self, file: Path, damage: bytes | str) -> None:
        path = self.kept(file)
        content = damage if isinstance(damage, bytes) else path.read_bytes().replace(b"first", b"worst")
        path.write_bytes(content)
        assert self.asked(file, path) == "second"
        self.kept(file)
        assert self.asked(file, path) == "first"

    def test_values_of_another_kind_are_not_believed(self, file: Path) -> None:
        path = self.kept(file)
        content = json.loads(path.read_text(encoding="utf-8"))
        content["files"][str(file)][1]["kind"] = [3]
        content["digest"] = key_of(content["files"])
        path.write_text(json.dumps(content), encoding="utf-8")
        assert self.asked(file, path) == "second"

    def test_a_memo_of_another_user_counts_as_empty(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.kept(file)
        monkeypatch.setattr(os, "getuid", lambda: -2, raising=False)
        assert self.asked(file, path) == "second"

    def test_files_that_are_gone_are_forgotten(self, file: Path, tmp_path: Path) -> None:
        path = self.kept(file)
        (tmp_path / "b").write_bytes(b"1")
        file.unlink()
        memo = FileMemo(path, "1")
        memo.value("kind", tmp_path / "b", lambda: "value", _no_number)
        memo.save()
        assert list(json.loads(path.read_text(encoding="utf-8"))["files"]) == [str(tmp_path / "b")]

    def test_a_folder_that_cannot_be_written_stops_nothing(self, file: Path) -> None:
        (file.parent / "blocked").write_bytes(b"")
        memo = FileMemo(file.parent / "blocked" / "memo")
        assert memo.value("kind", file, lambda: "value", _no_number) == "value"
        memo.save()
