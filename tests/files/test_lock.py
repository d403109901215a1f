"""Locks: one holder at a time among threads and processes, nothing left behind, a killed holder holds nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segcct.errors import RunError, StorageError
from segcct.files.atomic_file import sweep
from segcct.files.lock import exclusive, holder, is_lock, waiting

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from segcct.files.atomic_file import sweep
from segcct.files.lock import exclusive
with exclusive(Path(sys.argv[1]), "another process works here"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds `tmp_path/folder/.test.lock`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "folder" / ".test.lock"), str(ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_refused_and_told_who_holds_it(other, tmp_path):
    file = tmp_path / "folder" / ".test.lock"
    with pytest.raises(
        RunError, match=rf"works here \(found process {other.pid} on .+, since 2\d\d\d-.+[+-]\d\d:\d\d\)"
    ):
        exclusive(file, "another process works here").__enter__()
    assert holder(file).startswith(f"process {other.pid} on ")


def test_a_killed_process_holds_nothing(other, tmp_path):
    file = tmp_path / "folder" / ".test.lock"
    other.kill()
    other.wait()
    assert file.is_file()  # left behind, and worth nothing
    assert holder(file) is None
    with exclusive(file, "another process works here"):
        assert file.is_file()
    assert not file.exists()


def test_one_process_does_not_hold_a_lock_twice(tmp_path):
    file = tmp_path / ".test.lock"
    with exclusive(file, "busy"):
        with pytest.raises(RunError, match="this process"):
            exclusive(file, "busy").__enter__()
        assert holder(file) is not None
    assert holder(file) is None


def test_folders_that_were_made_for_the_lock_go_with_it_unless_they_hold_something(tmp_path):
    with exclusive(tmp_path / "a" / "b" / ".test.lock", "busy"):
        pass
    assert not list(tmp_path.iterdir())
    with exclusive(tmp_path / "a" / "b" / ".test.lock", "busy"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_those_who_wait_come_one_after_the_other(tmp_path):
    inside, most = [], []

    def work():
        with waiting(tmp_path / ".test.lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert not list(tmp_path.iterdir())


def test_waiting_ends(other, tmp_path):
    with pytest.raises(RunError, match=rf"locked \(found process {other.pid} "):
        waiting(tmp_path / "folder" / ".test.lock", most_s=0.1).__enter__()


@pytest.mark.usefixtures("no_locks")
def test_a_file_system_without_locks_is_said_once_and_used(tmp_path, capsys):
    for _ in range(2):
        with exclusive(tmp_path / ".test.lock", "busy"):
            pass
    assert capsys.readouterr().err.count("has no locks") == 1


def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        exclusive(tmp_path / "file" / ".test.lock", "busy").__enter__()


def test_locks_are_known_by_their_names():
    assert is_lock(Path("a/.train.lock"))
    assert not is_lock(Path("a/poetry.lock"))


def test_a_link_in_the_place_of_a_lock_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / ".test.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.test\.lock"):
        exclusive(tmp_path / ".test.lock", "busy").__enter__()
    assert (tmp_path / "precious").read_text() == "content"


def test_a_folder_that_goes_away_in_between_is_made_again(tmp_path, monkeypatch):
    opened = os.open

    def gone_once(file, *arguments):
        monkeypatch.setattr(os, "open", opened)
        Path(file).parent.rmdir()
        return opened(file, *arguments)

    monkeypatch.setattr(os, "open", gone_once)
    with exclusive(tmp_path / "folder" / ".test.lock", "busy"):
        assert (tmp_path / "folder" / ".test.lock").is_file()


def test_on_a_full_disk_a_lock_holds_and_is_given_up(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    file = tmp_path / ".test.lock"
    for _ in range(2):  # the second would wait for the first
        with waiting(file, most_s=0.1), pytest.raises(RunError, match="busy"):
            exclusive(file, "busy").__enter__()
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_user_is_told_with_its_owner_and_what_to_do(tmp_path, monkeypatch):
    file = tmp_path / ".test.lock"
    file.touch()

    def refused(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(Path, "owner", lambda self: "amelie")
    with pytest.raises(StorageError) as told, exclusive(file, "busy"):
        pass
    assert (told.value.file, told.value.found, told.value.errno) == (str(file), "amelie", errno.EACCES)
    assert "Ask amelie" in str(told.value.remedy)
    assert holder(file) is None


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
@pytest.mark.parametrize(("folder", "lock_file"), [(0o2770, 0o660), (0o755, 0o644), (0o700, 0o600)])
def test_who_may_write_to_the_folder_may_take_its_lock_over(tmp_path, folder, lock_file):
    tmp_path.chmod(folder)
    with exclusive(tmp_path / ".test.lock", "busy"):
        assert (tmp_path / ".test.lock").stat().st_mode & 0o777 == lock_file


def test_a_lock_that_a_kill_left_is_swept_after_a_day_unless_it_is_held(tmp_path, other):
    left, fresh, held = (tmp_path / ".left.lock", tmp_path / ".fresh.lock", tmp_path / "folder" / ".test.lock")
    for file in (left, fresh):
        file.write_text('{"pid": 7, "host": "ward3", "since": "2026-11-28 22:40:01"}')
    for file in (left, held):
        os.utime(file, (0, 0))
    sweep(tmp_path)
    sweep(tmp_path / "folder")
    assert [file.exists() for file in (left, fresh, held)] == [False, True, True]
    assert holder(held) is not None


@pytest.mark.parametrize("content", ["", "{}", "numpy==2.1\n"])
def test_a_file_that_another_program_named_like_a_lock_stays_as_it_is(tmp_path, content):
    file = tmp_path / ".packages.lock"
    file.write_text(content)
    os.utime(file, (0, 0))
    sweep(tmp_path)
    assert file.read_text() == content


@pytest.mark.parametrize("folder", [".", "run_1"])
def test_a_link_to_a_folder_that_is_not_there_is_told_from_a_folder(tmp_path, folder):
    link = tmp_path / "masks"
    link.symlink_to(tmp_path / "unmounted")
    with pytest.raises(RunError, match=r"masks: is not a folder \(found a link to \S+unmounted, which is not there\)"):
        exclusive(link / folder / ".test.lock", "another process works here").__enter__()
