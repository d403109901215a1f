"""Notebooks of the documentation: committed with the outputs of a real run, and their cells still run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from segcct.cli import main
from tests.support.documents import ROOT

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
SHORTER = {'"train.budget": "2min"': '"train.budget": "1s"', "--cases 14 --reduce 4": "--cases 7 --reduce 8"}
"""What a notebook says -> what the test runs, which is to end sooner."""
MOST_BYTES = 300_000
_PLACE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|mnt)/")


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of code."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, object]) -> None:
    """Run a cell as a notebook does: `!` begins a command of the shell."""
    for short, shorter in SHORTER.items():
        source = source.replace(short, shorter)
    names["run_command"] = run_command
    exec(re.sub(r"^!(.*)$", lambda line: f"run_command({line[1]!r})", source, flags=re.MULTILINE), names)


def run_command(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "segcct"
    assert main(words) == 0, line


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_it_was_executed_in_order_without_errors(notebook: Path) -> None:
    assert [cell["execution_count"] for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    outputs = [output for cell in cells(notebook) for output in cell["outputs"]]
    assert outputs
    assert "error" not in {output["output_type"] for output in outputs}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_small_and_names_no_folder_of_a_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert len(text) <= MOST_BYTES
    assert not _PLACE.search(text)
    for shorter in SHORTER:
        assert json.dumps(shorter)[1:-1] in text, "the test would take as long as the notebook"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file")  # an image as the last value of a cell, as notebooks show it
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_its_cells_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for cell in cells(notebook):
        run_cell("".join(cell["source"]), names)
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "report" / "panel.png").is_file()
