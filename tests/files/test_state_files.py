"""What every file of state goes through: atomic writing, JSON and tables that are refused in one line, full disks."""

from __future__ import annotations

import errno
import os
import pickle
import time
import tracemalloc
from pathlib import Path

import pytest

from segcct.errors import (
    CheckpointError,
    DataError,
    EvaluationError,
    RunError,
    StorageError,
    failure_of,
    show_tracebacks,
)
from segcct.files import atomic_file
from segcct.files.atomic_file import (
    OTHER_OR_OVERWRITE,
    atomic_path,
    is_temporary,
    refuse_existing,
    remove_unfinished,
    sweep,
    write_bytes,
)
from segcct.files.disk_space import is_disk_full, storage_error
from segcct.files.json_file import read_object
from segcct.files.small_file import read_small
from segcct.files.table_file import read_rows_of
from segcct.model_card import load_card

WRONG_JSON = {
    "empty": (b"", "an empty file"),
    "cut off": (b'{"a": {"b": 1', "delimiter"),
    "array": (b"[1, 2]", "an array, not an object"),
    "number": (b"7", "a number, not an object"),
    "text": (b'"a"', "a text, not an object"),
    "null": (b"null", "null, not an object"),
    "latin-1": ('{"ä": 1}'.encode("latin-1"), "byte 2 is not UTF-8"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "byte 0 is not UTF-8"),
    "binary": (bytes(range(200, 256)), "not UTF-8"),
    "not a number": (b'{"a": NaN}', "NaN in place of a number"),
    "infinity": (b'{"a": -Infinity}', "-Infinity in place of a number"),
    "overflow": (b'{"a": 1e999}', "a number that is too large: 1e999"),
    "many digits": (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
    "key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is listed twice"),
    "deep arrays": (b'{"a": ' + b"[" * 100000 + b"]" * 100000 + b"}", "nested too deeply"),
    "deep objects": (b'{"a":' * 300 + b"1" + b"}" * 300, "nested too deeply"),
    "half a surrogate": (rb'{"a": ["\ud800"]}', "text with invalid characters"),
    "null character": (rb'{"a\u0000b": 1}', "text with invalid characters"),
    "two objects": (b"{} {}", "Extra data"),
    "html": (b"<html></html>", "Expecting value"),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_json_of_another_kind_is_refused_in_one_line(name, tmp_path):
    content, words = WRONG_JSON[name]
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(EvaluationError) as refused:
        read_object(file, "is no index", error=EvaluationError, remedy="Write it again")
    message = str(refused.value)
    assert message.startswith(f"{file}: is no index (found ")
    assert words in message
    assert "\n" not in message


def test_json_that_is_missing_a_folder_or_too_large(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_object(tmp_path / "gone.json")
    with pytest.raises(DataError, match="a folder or a device"):
        read_object(tmp_path)
    (tmp_path / "large.json").write_bytes(b" " * 101 + b"{}")
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_object(tmp_path / "large.json", most_bytes=100)
    assert read_object(tmp_path / "large.json", most_bytes=103) == {}


def test_a_model_card_is_no_file_of_a_hundred_megabytes(tmp_path):
    (tmp_path / "model.json").touch()
    os.truncate(tmp_path / "model.json", 100_000_000)
    with pytest.raises(CheckpointError, match=r"is not a model card of this version .*more than 67,108,864 bytes"):
        load_card(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no such file system here")
def test_a_file_whose_size_is_not_known_is_read():
    assert b"Name:" in read_small(Path("/proc/self/status"), 2**20)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_small(Path("/proc/self/status"), 10)


def test_a_small_file_is_read_in_little_memory(tmp_path):
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    tracemalloc.start()
    read_object(tmp_path / "a.json")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20


def test_sound_json_is_read_as_it_is(tmp_path):
    content = '{"ä": [1, -2.5e3, true, null, "\\ud83d\\ude00"], "b": {"seed": 18446744073709551615}}'
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    read = read_object(tmp_path / "a.json")
    assert read == {"ä": [1, -2500.0, True, None, "\U0001f600"], "b": {"seed": 2**64 - 1}}


WRONG_TABLES = {
    "empty": (b"", "an empty file"),
    "no header": (b"1,2\n", "case, dice"),
    "another header": (b"case,iou\na,1\n", "dice"),
    "column twice": (b"case,dice,dice\na,1,2\n", "'dice'"),
    "cells missing": (b"case,dice\na\n", "line 2 has a different number of cells"),
    "cells too many": (b"case,dice\na,1\nb,1,2\n", "line 3 has a different number of cells"),
    "latin-1": ("case,dice\nä,1\n".encode("latin-1"), "byte 10 is not UTF-8). Save it as text in UTF-8"),
    "null character": (b"case,dice\na\0,1\n", "null character"),
    "open quote": (b'case,dice\n"a,1\n', "not a table of text"),
    "semicolons": (b'"case";"dice"\n"a";1\n', "Save it with commas between the columns"),
    "semicolons, quotes later": (b'case;dice\n"a";1\n', "Save it with commas between the columns"),
    "huge cell": (b"case,dice\n" + b"a" * 200000 + b",1\n", "not a table of text"),
    "binary": (bytes(range(128, 256)), "not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_a_table_of_another_kind_is_refused_in_one_line(name, tmp_path):
    content, words = WRONG_TABLES[name]
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(EvaluationError) as refused:
        read_rows_of(file, ("case", "dice"), error=EvaluationError)
    assert str(refused.value).startswith(f"{file}: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_sound_table_is_read_as_it_is(tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffcase,note\r\na,"x, ""y""\nz"\r\n\r\nb,\r\n'.encode())
    assert read_rows_of(tmp_path / "a.csv", ("case",)) == [
        {"case": "a", "note": 'x, "y"\nz'},
        {"case": "b", "note": ""},
    ]


@pytest.mark.parametrize(
    "name", ["mask.nii.gz", "1.2.840.113619.nii.gz", "plain", ".hidden", "x" * 240 + ".json", "肝" * 80 + ".nii"]
)
def test_temporary_names_keep_the_suffix_and_are_known_again(name, tmp_path):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_bytes(b"whole")
        assert is_temporary(temporary.name)
        assert temporary.suffixes[-2:] == Path(name).suffixes[-2:]
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert not is_temporary(name)


def test_what_killed_writers_left_of_named_files_is_removed_at_once(tmp_path):
    names = ("case_1.nii.gz", "1.2.840.png", ".hidden.png", "1.2.841.png", "other.png")
    left = []
    for name in names:
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_bytes(b"whole")
        (tmp_path / name).rename(temporary)  # as a kill leaves it
        left.append(temporary)
    remove_unfinished(tmp_path, names[:3])
    assert sorted(tmp_path.iterdir()) == sorted(left[3:])


def test_what_killed_writers_left_is_swept_after_a_day(tmp_path):
    old, young, mine = ".a-part-0123abcd.nii.gz", ".b-part-0123abcd", ".c-0123abcd.txt"
    (tmp_path / old).write_bytes(b"half")
    (tmp_path / ".d-part-0123abcd").mkdir()
    (tmp_path / ".d-part-0123abcd" / "x").write_bytes(b"half")
    for name in (young, mine):
        (tmp_path / name).write_bytes(b"half")
    day_ago = time.time() - 90000
    for name in (old, mine, ".d-part-0123abcd"):
        os.utime(tmp_path / name, (day_ago, day_ago))
    write_bytes(tmp_path / "target", b"whole")  # whoever writes to the folder sweeps it
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([young, mine, "target"])
    sweep(tmp_path / "nowhere")


def test_a_link_that_is_swept_goes_without_what_it_leads_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_bytes(b"whole")
    link = tmp_path / ".a-part-0123abcd"
    link.symlink_to(tmp_path / "kept")
    os.utime(link, (0, 0), follow_symlinks=False)
    sweep(tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["kept", "x"]


def test_content_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        atomic_file.os, "fsync", lambda number: synced.append((tmp_path / "a").exists()) or fsync(number)
    )
    write_bytes(tmp_path / "a", b"1")
    with atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "x").write_bytes(b"2")
        (temporary / "y").write_bytes(b"3")
    assert synced == [False, True, True]


class SafetensorError(Exception):
    """As of the library of that name, which is no OSError."""


FULL = {
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "file size limit": OSError(errno.EFBIG, "File too large"),
    "safetensors": SafetensorError("I/O error: No space left on device (os error 28)"),
    "torch": RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"),
    "hdf5": OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_one_line_with_the_folder_and_what_is_needed(name, tmp_path):
    target = tmp_path / "out" / "mask.nii.gz"

    def write_until_full():
        with atomic_path(target, needs_bytes=23_400_000) as temporary:
            temporary.write_bytes(b"half")
            raise FULL[name]

    with pytest.raises(StorageError) as told:
        write_until_full()
    message = str(told.value)
    assert message.startswith(f"{target.parent}: No space left on device (found ")
    assert "B free; expected room for 23.4 MB). Free some space there" in message
    assert "\n" not in message
    assert isinstance(told.value, OSError)
    assert told.value.errno == errno.ENOSPC
    assert is_disk_full(told.value)
    assert list(target.parent.iterdir()) == []
    assert str(pickle.loads(pickle.dumps(told.value))) == message  # as from a worker process


def test_a_full_disk_says_how_much_it_took_where_the_size_is_not_known(tmp_path):
    def write_until_full():
        with atomic_path(tmp_path / "mask.nii.gz") as temporary:
            temporary.write_bytes(bytes(2_500_000))
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError) as told:
        write_until_full()
    assert told.value.expected == "room for more than 2.5 MB"


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    def refused(self, content):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(StorageError, match=r"/out: the folder cannot be written to \(found Read-only file system\)"):
        write_bytes(tmp_path / "out" / "a", b"1")


@pytest.mark.parametrize(
    ("named", "about"), [("a", True), ("a/b", True), ("a/b/mask", True), ("a/b/c/mask", True), ("a/scan", False)]
)
def test_a_folder_that_cannot_be_made_or_entered_is_the_cause(tmp_path, named, about):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / named))
    assert (storage_error(error, tmp_path / "a" / "b") is not None) == about


def test_a_folder_that_vanishes_is_named(tmp_path):
    def write_into_nothing():
        with atomic_path(tmp_path / "out" / "a") as temporary:
            temporary.parent.rmdir()
            temporary.write_bytes(b"1")

    with pytest.raises(StorageError, match="/out: the folder disappeared"):
        write_into_nothing()


def test_other_failures_stay_what_they_are(tmp_path):
    for error in (ValueError("no"), FileNotFoundError(2, "No such file", "/elsewhere/scan"), KeyError("a")):
        with pytest.raises(type(error)) as met, atomic_path(tmp_path / "a"):
            raise error
        assert met.value is error


def test_a_bug_in_one_case_says_so_and_how_to_report_it(capsys):
    error = KeyError("spacing")
    told = failure_of(error)
    assert told.startswith("unexpected KeyError: 'spacing'. This is a bug of segcct: please report it")
    assert "--debug" in told
    assert capsys.readouterr().err == ""
    show_tracebacks(True)
    try:
        failure_of(error)
    finally:
        show_tracebacks(False)
    assert "KeyError: 'spacing'" in capsys.readouterr().err


def test_a_file_that_exists_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "mask.onnx"
    refuse_existing(file)
    file.touch()
    with pytest.raises(RunError, match=r"mask\.onnx: exists already\. Choose another --output, or add --overwrite$"):
        refuse_existing(file, OTHER_OR_OVERWRITE)
