"""What messages tell people to do can be done: commands, options and configuration keys that they name are there."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from segcct.cli import main, reworded_for_command
from segcct.commands import build_parser
from segcct.config import ClassificationConfig, PretrainingConfig, ReconstructionConfig, SegmentationConfig
from segcct.config.config_keys import keys
from segcct.errors import DataError, failure_of, items
from segcct.tasks.task import TASKS

PACKAGE = Path(__file__).parents[2] / "segcct"
FLAG = re.compile(r"(?<![\w-])--([a-z][\w-]*)(?![\w.-])")
KEY = re.compile(r"(?<![\w/.-])(?:--)?((?:data|train|run|model|augment)\.[a-z_]+(?:\.[a-z_]+)*)(?![\w(/])")
COMMAND = re.compile(r"(?<![\w.])segcct ([a-z][\w-]*)")
FILES = {"train.bin", "model.json", "model.pt", "data.csv"}
NOT_COMMANDS = {"has", "reads", "writes", "does", "did", "is", "can"}
NO_OPTIONS = {"mask", "version", "section", "key", "porcelain", "raw", "add-modules", "dereference", "hard-dereference"}
"""Placeholders, and options of the program itself, of git, gdcmconv, Java and tar."""
OF_OTHERS = {"config_text.py", "environment.py", "runtime.py"}
"""What speaks of the commands that come next, or has options of its own."""


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(commands.choices)


PARSERS = parsers()
OPTIONS = {name: {o.lstrip("-") for o in parser._option_string_actions} for name, parser in PARSERS.items()}
KINDS = (SegmentationConfig, ReconstructionConfig, ClassificationConfig, PretrainingConfig)
KEYS = {key.name for kind in KINDS for key in keys(kind)}
SECTIONS = {name[:end] for name in KEYS for end, letter in enumerate(name) if letter == "."}


def texts(file: Path) -> list[str]:
    """Every string of a module that is no docstring; of an f-string its fixed parts, joined."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            aside |= {id(part) for part in node.values}
            parts = [p.value if isinstance(p, ast.Constant) else "VALUE" for p in node.values]
            found.append("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
            found.append(node.value)
    return found


IN_A_TABLE = re.compile(r"(segcct(?:\.\w+)+)(?::\w+)?")


def imported(file: Path) -> set[Path]:
    """Modules of the package that a module imports anywhere in it, also inside functions, or names in a table."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("segcct"):
            base = PACKAGE.parent.joinpath(*str(node.module).split("."))
            found |= {base.joinpath(alias.name).with_suffix(".py") for alias in node.names}
            found |= {base.with_suffix(".py"), base / "__init__.py"}
        elif isinstance(node, ast.Constant) and (named := IN_A_TABLE.fullmatch(str(node.value))):
            base = PACKAGE.parent.joinpath(*named[1].split("."))
            found |= {base.with_suffix(".py"), base / "__init__.py"}
    return {path for path in found if path.is_file()}


def reaching() -> dict[Path, set[str]]:
    """Module -> the commands that can come to it from their own module in commands/."""
    graph = {file: imported(file) for file in PACKAGE.rglob("*.py")}
    reached: dict[Path, set[str]] = {file: set() for file in graph}
    for name, parser in PARSERS.items():
        run = parser.get_default("run")
        home = str(getattr(run, "func", run).__module__)  # of a partial, the function's
        module = PACKAGE.parent.joinpath(*home.split(".")).with_suffix(".py")
        waiting = [module]
        while waiting:
            file = waiting.pop()
            if name not in reached[file]:
                reached[file].add(name)
                waiting += graph[file]
    return reached


MODULES = sorted(PACKAGE.rglob("*.py"), key=str)
SAID = [(file, text) for file in MODULES for text in texts(file)]


def test_options_that_are_named_are_there() -> None:
    reached = reaching()
    wrong = []
    for file, text in SAID:
        for option in FLAG.findall(text):
            alone = text == f"--{option}"  # a part of a command line that is put together
            told = [name for name in COMMAND.findall(text) if name in PARSERS]
            commands = PARSERS if alone or file.name in OF_OTHERS else told or reached[file] or PARSERS
            if option not in NO_OPTIONS.union(*(OPTIONS[name] for name in commands)):
                wrong.append(f"{file.name}: --{option} is no option of {', '.join(commands)}: {text!r}")
    assert not wrong


def test_commands_that_are_named_are_there() -> None:
    named = [(file.name, command, text) for file, text in SAID for command in COMMAND.findall(text)]
    assert len(named) > 10
    assert not [each for each in named if each[1] not in {*PARSERS, *NOT_COMMANDS}]


def test_keys_that_are_named_are_there() -> None:
    named = [(file.name, key, text) for file, text in SAID for key in KEY.findall(text)]
    assert len(named) > 50
    known = KEYS | SECTIONS | FILES
    assert not [each for each in named if each[1] not in known and not each[1].startswith("model.options.")]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_command_without_keys_says_what_it_takes(command: str) -> None:
    option = {"predict": "input", "evaluate": "reference"}[command]
    parsed = argparse.Namespace(command=command, takes_keys=False, **{option: Path("x")})
    assert reworded_for_command("Set data.root to the folder", parsed) == f"Set --{option} to the folder"
    told = reworded_for_command("a/data.label: Set data.label to a pattern", parsed)
    assert told.endswith("Set data.label to a pattern. data.label is a key of the config that the model was trained by")
    clusters = argparse.Namespace(command="assign-clusters", takes_keys=False)
    told = reworded_for_command("Set data.label_map: {255: 1}", clusters)
    assert told.endswith("data.label_map is a key of a config, which --scheme takes")
    assert reworded_for_command("data.nii.gz: no such file", parsed) == "data.nii.gz: no such file"
    with_keys = argparse.Namespace(command="check", takes_keys=True)
    assert reworded_for_command("Set data.root", with_keys) == "Set data.root"


def test_messages_are_bounded() -> None:
    assert len(items([f"case {number}" for number in range(10_000)]).splitlines()) == 52
    assert items(range(10_000)).endswith("- and 9950 more")
    error = DataError("values", found=", ".join(map(str, range(100_000))))
    assert len(str(error)) < 2100
    assert "more characters" in str(error)


def test_a_folder_that_is_no_dataset_is_told_in_the_words_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "r").mkdir()
    (tmp_path / "p" / "a.nii.gz").write_bytes(b"x")
    sides = ("--prediction", str(tmp_path / "p"), "--reference", str(tmp_path / "r"))
    assert main(["evaluate", *sides, "--output", str(tmp_path / "o"), "--scheme", "acdc", "--layout", "acdc"]) == 1
    text = capsys.readouterr().err
    assert "Set --reference to the folder of the data" in text
    assert "data.root" not in text


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("predict", {"batch_size": 16}, "too little memory. Lower --batch-size"),
        ("train-seg", {}, "too little memory. Lower --train.batch_size"),
        ("check", {}, "too little memory"),
        ("evaluate", {}, "too little memory"),
    ],
)
def test_too_little_memory_advises_what_the_command_has(command, options, expected):
    parsed = argparse.Namespace(command=command, takes_keys=command in ("train-seg", "check"), **options)
    assert reworded_for_command(failure_of(MemoryError()), parsed) == expected


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("segmentation", [], "; the same command with --continue does the rest"),
        ("segmentation", ["--continue"], "; the same command with --continue does the rest"),
        ("segmentation", ["--overwrite"], "; the same command with --continue in place of --overwrite does the rest"),
        ("segmentation", ["--status"], ""),
        ("segmentation", ["--dry-run"], ""),
        ("classification", [], ""),
    ],
)
def test_an_interruption_says_how_to_continue_where_masks_are_written(
    task: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    row = SimpleNamespace(name=task, options=TASKS[task].options, function=lambda *_: interrupted)
    monkeypatch.setattr("segcct.tasks.task_files.task_of_model", lambda _: row)
    assert main(["predict", "--model", "model", "--input", "scans", "--output", "masks", *options]) == 130
    assert capsys.readouterr().err.endswith(f"\nsegcct predict: interrupted{words}\n")
