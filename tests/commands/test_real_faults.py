"""Faults as they happen, not imitated: a small file system that is really full, and SIGKILL between two masks.

More of both, for every command, and kills at random moments: benchmarks/full_disk.py and benchmarks/kills.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segcct.cli import main
from tests.conftest import training_command
from tests.support.deadline import wait_until

pytestmark = pytest.mark.slow
SECONDS = 120


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk in memory of so many kilobytes; asked again, the same one of another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def sized(kilobytes: int) -> Path:
        options = f"size={kilobytes}k" + (",remount" if os.path.ismount(folder) else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
            pytest.skip("no file system can be mounted here")
        return folder

    yield sized
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(trained: Path, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name -> mask, of a prediction that nothing disturbs."""
    output = tmp_path_factory.mktemp("undisturbed") / "masks"
    assert main(prediction(trained, phantom, output)) == 0
    return masks(output)


def prediction(run: Path, scans: Path, output: Path) -> list[str]:
    return ["predict", "--model", str(run / "best"), "--input", str(scans), "--output", str(output), "--device", "cpu"]


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz") if not path.name.startswith(".")}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("kilobytes", [4, 12])
def test_a_full_disk_leaves_whole_masks_and_with_room_the_rest_is_predicted(
    kilobytes: int, disk: Callable[[int], Path], trained: Path, phantom: Path, undisturbed: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = disk(kilobytes) / "masks"
    assert main(prediction(trained, phantom, output)) == 1
    assert "No space left on device" in said(capsys)
    assert masks(output).items() <= undisturbed.items()
    disk(4096)
    assert main([*prediction(trained, phantom, output), "--continue"]) == 0
    assert masks(output) == undisturbed
    assert not list(output.glob(".*"))


def test_a_disk_that_became_read_only_is_named(
    disk: Callable[[int], Path], trained: Path, phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = disk(4096)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert main(prediction(trained, phantom, folder / "masks")) == 1
    assert f"{folder}" in (text := said(capsys))
    assert "Read-only file system" in text
    assert not list(folder.iterdir())


def test_a_training_on_a_full_disk_ends_in_one_line(
    disk: Callable[[int], Path], phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = disk(600) / "runs"
    assert main(training_command(phantom, root, train__epochs="1")) == 1
    assert "No space left on device" in said(capsys)
    assert not (root / "small" / "best").exists()
    assert not list(root.rglob(".*-part-*"))


def kill_once(condition: Callable[[], bool], command: list[str]) -> None:
    """Kill the command and its children as soon as the condition holds."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until(lambda: condition() or process.poll() is not None, most_s=SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before"


def test_killed_after_some_masks_a_prediction_continues_to_the_same_masks(
    trained: Path, phantom: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    output = tmp_path / "masks"
    command = [sys.executable, "-m", "segcct.cli", *prediction(trained, phantom, output), "--continue"]
    for number in (1, 3):  # of 6 masks
        kill_once(lambda number=number: len(masks(output)) >= number, command)
        assert masks(output).items() <= undisturbed.items()
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=SECONDS, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert masks(output) == undisturbed
