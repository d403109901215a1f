"""HDF5 files are read by a process of their own, which a damaged file may crash and nothing else may notice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from segcct.errors import VolumeError
from segcct.images import hdf5
from segcct.images.arrays import array_names, array_shape, array_shapes, read_arrays
from tests.support.deadline import wait_until
from tests.support.mutations import mutant

CRASHES = 3_030_050
"""A mutant over which libhdf5 reads memory that is not its own."""
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and fork")


def written(file: Path, values: np.ndarray) -> Path:
    with h5py.File(file, "w") as stored:
        stored.create_dataset("image", data=values, compression="gzip")
    return file


@pytest.fixture
def sound(tmp_path):
    return [written(tmp_path / f"{n}.h5", np.full((4, 5), n, np.float32)) for n in range(3)]


@pytest.fixture
def crashing(tmp_path):
    (tmp_path / "mutant").mkdir()
    return mutant("hdf5", CRASHES).write(tmp_path / "mutant")


def process() -> int:
    """The process that reads for this one."""
    assert hdf5._reader._process is not None
    return hdf5._reader._process.pid


def test_a_file_that_crashes_the_library_is_refused_and_the_next_is_read(sound, crashing):
    for _ in range(2):
        with pytest.raises(VolumeError) as refused:
            read_arrays([crashing], "image")
        assert refused.value.file == str(crashing)
        assert np.array_equal(read_arrays([sound[1]], "image")[0], np.ones((4, 5)))


def test_it_is_the_crashing_file_of_several_that_is_named(sound, crashing):
    with pytest.raises(VolumeError) as refused:
        read_arrays([sound[0], crashing, sound[1]], "image")
    assert refused.value.file == str(crashing)
    assert [array[0, 0] for array in read_arrays(sound, "image")] == [0, 1, 2]


def test_after_an_error_the_answers_still_belong_to_their_questions(sound, tmp_path):
    other = written(tmp_path / "other.h5", np.zeros((2, 2)))
    with pytest.raises(VolumeError, match="no array 'label'"):
        read_arrays([*sound, other], "label")
    assert array_names(other) == ["image"]
    assert array_shape(other, "image") == (2, 2)
    assert array_shapes(sound[0]) == {"image": (4, 5)}


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<f2", ">f8", "?"])
def test_values_and_types_come_through(tmp_path, dtype):
    values = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    read = read_arrays([written(tmp_path / "a.h5", values)], "image")[0]
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


def test_one_process_reads_many_files(sound):
    read_arrays([sound[0]], "image")
    first = process()
    for file in sound:
        read_arrays([file], "image")
    assert process() == first


@POSIX
def test_a_file_is_not_blamed_where_the_reader_was_killed(sound, monkeypatch):
    """As by a system that is out of memory."""
    start = hdf5._Reader._start

    def killed(reader):
        made = start(reader)
        made.kill()
        made.wait()
        return made

    monkeypatch.setattr(hdf5._Reader, "_start", killed)
    hdf5._reader.stop()
    with pytest.raises(VolumeError, match="was killed") as refused:
        read_arrays([sound[0]], "image")
    assert "memory" in refused.value.remedy


@POSIX
def test_one_that_was_killed_is_replaced(sound):
    read_arrays([sound[0]], "image")
    os.kill(process(), signal.SIGKILL)
    assert read_arrays([sound[2]], "image")[0][0, 0] == 2


def test_threads_take_turns(sound):
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda n: read_arrays([sound[n % 3]], "image")[0][0, 0] == n % 3, range(60))
    assert all(read)


def _read_in_child(file: Path, parent_process: int, told: multiprocessing.Queue) -> None:
    told.put((read_arrays([file], "image")[0][0, 0], process() != parent_process))


@POSIX
def test_a_forked_daemon_reads_through_its_own(sound):
    """As a loader's worker, which may have no children by multiprocessing."""
    read_arrays([sound[0]], "image")
    fork = multiprocessing.get_context("fork")
    told = fork.Queue()
    child = fork.Process(target=_read_in_child, args=(sound[2], process(), told), daemon=True)
    child.start()
    assert told.get(timeout=60) == (2, True)
    child.join(60)
    assert read_arrays([sound[1]], "image")[0][0, 0] == 1


@POSIX
def test_an_interrupt_leaves_no_answer_to_the_next_question(sound, tmp_path):
    large = written(tmp_path / "large.h5", np.zeros((2000, 2000)))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))

    def interrupted() -> None:
        timer.start()  # within the block that expects it, however slow the machine is
        for _ in range(100):
            read_arrays([large] * 10, "image")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_arrays([sound[2]], "image")[0][0, 0] == 2


PROGRAM = """
import os, sys
from pathlib import Path
from segcct.images.arrays import read_arrays
from segcct.images import hdf5
read_arrays([Path(sys.argv[1])], "image")
print(hdf5._reader._process.pid, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), 9)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("end", ["return", "kill"])
def test_the_process_ends_with_the_one_it_reads_for(sound, end):
    done = subprocess.run([sys.executable, "-c", PROGRAM, sound[0], end], capture_output=True, text=True, check=False)
    assert not done.stderr
    wait_until(lambda: not alive(int(done.stdout)))


def test_shapes_are_kept_only_as_long_as_the_file_is_the_same(tmp_path):
    file = written(tmp_path / "a.h5", np.zeros((2, 3)))
    with h5py.File(file, "a") as stored:
        stored["label"] = np.zeros((4, 5, 6))
        stored["names"] = ["a", "b"]
    assert array_shape(file, "image") == (2, 3)
    assert array_shape(file, "label") == (4, 5, 6)
    with pytest.raises(VolumeError, match="'names' holds no numbers"):
        array_shape(file, "names")
    written(file, np.zeros((7, 8)))
    assert array_shape(file, "image") == (7, 8)
    file.unlink()
    with pytest.raises(VolumeError):
        array_shape(file, "image")
