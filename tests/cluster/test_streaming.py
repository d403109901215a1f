"""Map and reduce as Hadoop Streaming runs them, with a shell's pipes in its place."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from segcct.cli import main
from segcct.cluster import streaming
from segcct.images.volume import Volume

STREAMING = f"{shlex.quote(sys.executable)} -m segcct.cluster.streaming"


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """Two volumes of three tissues, of whole numbers and of fractions, and an image."""
    files = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        voxels = rng.choice([20, 60, 120], (12, 10, 4)) + rng.normal(0, 4, (12, 10, 4))
        voxels = (np.rint(voxels).astype(np.int16), voxels.astype(np.float32))[seed]
        file = tmp_path / "scans" / f"c{seed}.nii.gz"
        Volume(voxels, np.diag([2.0, 2, 3, 1]), (2.0, 2.0, 3.0)).save(file)
        files.append(file)
    return files


def test_a_pipe_gives_the_centers_of_the_command(scans: list[Path], tmp_path: Path) -> None:
    (tmp_path / "files.txt").write_text("".join(f"{100 * place}\t{file}\n" for place, file in enumerate(scans)))
    pipe = f"cat files.txt | {STREAMING} map | LC_ALL=C sort | {STREAMING} reduce --clusters 3 > centers.json"
    subprocess.run(["bash", "-o", "pipefail", "-c", pipe], cwd=tmp_path, check=True)
    folder = ["--input", str(scans[0].parent)]
    assert main(["cluster-segment", *folder, "--output", str(tmp_path / "one"), "--centers", "cohort"]) == 0
    centers = [json.loads((tmp_path / name).read_text())["centers"] for name in ("centers.json", "one/centers.json")]
    assert centers[0] == centers[1]
    given = ["--centers", str(tmp_path / "centers.json")]
    assert main(["cluster-segment", *folder, "--output", str(tmp_path / "two"), *given]) == 0
    assert (tmp_path / "two" / "c0.nii.gz").read_bytes() == (tmp_path / "one" / "c0.nii.gz").read_bytes()


def test_a_combiner_changes_nothing(scans: list[Path]) -> None:
    lines = list(streaming.mapped(map(str, [*scans, *scans]), "auto"))
    once = streaming.reduced(lines)
    parts = [streaming.written(streaming.reduced(part)) for part in (lines[:50], lines[50:])]
    combined = streaming.reduced(line for part in reversed(parts) for line in part)
    assert np.array_equal(once.values, combined.values)
    assert np.array_equal(once.counts, combined.counts)
    assert once.counts.sum() == 4 * 480


def test_images_are_counted(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) // 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    lines = [f"{tmp_path / 'a.png'}\r\n", "\r\n"]  # as a list written on Windows
    histogram = streaming.reduced(streaming.mapped(lines, None))
    assert dict(zip(histogram.values, histogram.counts, strict=True)) == dict.fromkeys(range(6), 2)


def test_files_named_by_uris_are_counted(scans: list[Path]) -> None:
    fsspec.filesystem("memory").pipe("/streaming/c0.nii.gz", scans[0].read_bytes())
    there = streaming.mapped(["12\tmemory://streaming/c0.nii.gz\n"], "auto")
    assert list(there) == list(streaming.mapped([str(scans[0])], "auto"))


def test_local_files_need_no_temporary_folder(scans: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming.tempfile, "TemporaryDirectory", lambda: pytest.fail("a folder was made"))
    assert list(streaming.mapped([str(scans[0])], "auto"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reduce", "--fuzzifier", "1"], "1 is not a number above 1"),
        (["reduce", "--tolerance", "0"], "0 is not a number above 0"),
        (["reduce", "--max-iterations", "0"], "0 is not a whole number of at least 1"),
        (["reduce", "--clusters", "1"], "1 is not a number of clusters from 2"),
        (["map", "--background", "nan"], "nan is neither auto, none nor an intensity"),
        (["map", "--background", "x"], "x is neither auto, none nor an intensity"),
    ],
)
def test_options_have_the_types_of_the_command(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        streaming.main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "lines", "message"),
    [
        (["map"], "memory://streaming/gone.nii.gz\n", "memory://streaming/gone.nii.gz: cannot be fetched"),
        (["map"], "nowhere.nii.gz\n", "nowhere.nii.gz: no such file"),
        (["reduce"], "1\t2\nx\t3\n", "is not a line that map writes"),
        (["reduce", "--clusters", "3"], "1\t2\n", "fewer distinct intensities"),
    ],
)
def test_what_cannot_be_read_ends_the_task(
    words: list[str],
    lines: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert streaming.main(words) == 1
    assert message in capsys.readouterr().err
