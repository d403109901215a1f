"""Predictions that a test holds on their workers, so that it can kill one in the middle of its work."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from segcct.datasets.case import Case
from segcct.predictions.folder_prediction import PredictCase
from segcct.predictions.tracked_case import PredictedCase


def held(output: Path) -> Path:
    """A folder next to that of the masks. If it exists, each attempt at a case writes a file `CASE-PROCESS` into it and
    waits for the file `go`."""
    return output.with_name(f"{output.name}-held")


class HeldCase(PredictCase):
    """`PredictCase`, which waits until the test lets it begin."""

    def __call__(self, named: tuple[str, Case]) -> PredictedCase:
        folder = held(self.output)
        if folder.is_dir():
            (folder / f"{named[0]}-{os.getpid()}").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
        return super().__call__(named)


def ancestors(process: int) -> list[int]:
    """A process and the processes that started it, itself first (Linux); empty if it has ended."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        while process:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
            found.append(process)
            process = int(stat.rpartition(")")[2].split()[1])
    return found
