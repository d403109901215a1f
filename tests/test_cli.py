"""The command line itself: help in under a second, usage errors, exit codes, the scripts' doors."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segcct.cli import build_parser, main

ROOT = Path(__file__).parents[1]


def test_help_comes_in_under_a_second():
    subprocess.run([sys.executable, "-m", "segcct.cli", "--help"], check=True, capture_output=True, cwd=ROOT)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "segcct.cli", "--help"], check=True, capture_output=True, cwd=ROOT)
    assert time.perf_counter() - began < 1.0


def commands() -> list[str]:
    parser = build_parser()
    return list(next(a for a in parser._actions if a.dest == "command").choices)


@pytest.mark.parametrize("command", commands())
def test_every_option_has_help(command):
    parser = next(a for a in build_parser()._actions if a.dest == "command").choices[command]
    assert all(action.help for action in parser._actions)


def test_training_help_lists_the_keys(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train-seg", "--help"])
    assert ended.value.code == 0
    assert "--train.budget" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice"),
        (["train-seg"], "one of the arguments --config --resume is required"),
        (["train-seg", "--config", "a.yaml", "--epochs", "3"], "configuration keys look like --train.epochs"),
        (["train-seg", "--config", "a.yaml", "--dry"], "no option --dry"),
        (["predict", "--mod", "x", "--input", "y", "--output", "z"], "required: --model"),
        (["predict", "--model", "x", "--input", "y", "--output", "z", "--split", "all"], "invalid choice: 'all'"),
        (
            ["evaluate", "--prediction", "x", "--reference", "y", "--output", "z", "--tolerence", "1"],
            "no option --tolerence",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_next_command_can_be_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "brats", "my scans", "--cases", "4", "--reduce", "8"]) == 0
    config = ["--config", "configs/brats_cct_unet.yaml", "--data.root", "my scans"]
    assert shlex.split(capsys.readouterr().out.split("next: ")[1]) == ["segcct", "train-seg", *config]
    assert main(["init", "my scans"]) == 0
    assert shlex.split(capsys.readouterr().out.split("next: read it, then ")[1])[-1] == "configs/my scans.yaml"
    config = ["--config", "configs/my scans.yaml", "--run.name", "a b"]
    assert main(["check", *config, "--quick"]) == 0
    assert shlex.split(capsys.readouterr().out.split("next: ")[1]) == ["segcct", "train-seg", *config]


def test_debug_shows_the_traceback():
    from segcct.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["train-seg", "--config", "nowhere.yaml", "--debug"])


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_scripts_are_doors_to_commands(script):
    command = [sys.executable, str(ROOT / "scripts" / script), "--help"]
    environment = {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, env=environment, check=True).stdout
    assert shown.startswith("usage: segcct ")
