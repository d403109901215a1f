"""Commands that run in one process and on Spark, and the results that must be equal."""

from __future__ import annotations

import json
from pathlib import Path


def predict_command(run: Path, scans: Path, output: Path, *options: str) -> list[str]:
    """Arguments of `segcct predict`."""
    where = ("--model", str(run / "best"), "--input", str(scans), "--output", str(output))
    return ["predict", *where, "--batch-size", "8", *options]


def masks(folder: Path) -> dict[str, bytes]:
    """Every mask and table of a prediction."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".gz", ".csv")}


def scores(folder: Path) -> dict[str, object]:
    """Everything that an evaluation writes, except its provenance."""
    files: dict[str, object] = {file.name: file.read_bytes() for file in folder.glob("*.csv")}
    summary = json.loads((folder / "summary.json").read_text())
    del summary["provenance"]
    return {**files, "summary.json": summary}
