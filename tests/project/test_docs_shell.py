"""Shell lines of the documentation are understood by the program: commands, options, keys, values, make targets."""

from __future__ import annotations

import argparse
import re
import tomllib

import pytest

from segcct.commands import build_parser
from segcct.config import settings
from segcct.errors import SegcctError
from tests.support.documents import ROOT, ShellLine, made_by_init, shell_lines
from tests.support.program_names import KINDS, is_key

OTHERS = {".", "cd", "docker", "export", "git", "itksnap", "pre-commit", "python3", "Slicer", "tensorboard"}
"""Programs that are not ours; their arguments are not looked at."""


def check(words: tuple[str, ...]) -> None:
    """Raises `AssertionError` where a command line would not be understood."""
    program, *rest = words
    if program == "segcct":
        check_segcct(rest)
    elif program == "make":
        check_make(rest)
    elif program.endswith("pip"):
        check_pip(rest)
    elif program in ("python", "torchrun") or program.endswith("/python"):
        check_python(rest)
    else:
        assert program in OTHERS, f"no such program known here: {program}"


def check_segcct(words: list[str]) -> None:
    try:
        parsed, rest = build_parser().parse_known_args(words)
    except SystemExit as ended:
        if ended.code:
            raise AssertionError(f"wrong usage: segcct {' '.join(words)}") from ended
        return
    strangers = [word for word in rest if word.startswith("--") and not (parsed.takes_keys and "." in word)]
    assert not strangers, f"segcct {parsed.command} has no option {strangers[0]}"
    assert parsed.takes_keys or not rest, f"segcct {parsed.command} takes no {rest[0]}"
    parsed.keys = rest
    check_names(parsed)
    if parsed.takes_keys:
        check_experiment(parsed)


def check_names(parsed: argparse.Namespace) -> None:
    """Names of models, schemes and conventions are in their tables."""
    from segcct.datasets.label_schemes import get_scheme
    from segcct.metrics.conventions import get_convention
    from segcct.models.zoo import entry

    for name in getattr(parsed, "names", ()):
        entry(name)
    scheme = getattr(parsed, "scheme", None)
    if scheme and not scheme.endswith(".yaml"):
        get_scheme(scheme)
    elif scheme and scheme not in made_by_init():
        settings.load_data_section(ROOT / scheme)
    for name in getattr(parsed, "convention", "default").split(","):
        get_convention(name)


def check_experiment(parsed: argparse.Namespace) -> None:
    """The keys are valid, and fit the config that they are laid over."""
    from segcct.models.zoo import entry

    overrides = settings.parse_overrides(parsed.keys)
    assert [key for key in overrides if not is_key(key)] == []
    if "model.name" in overrides:
        entry(overrides["model.name"])
    if getattr(parsed, "resume", None):
        from segcct.training.session import RESUMABLE

        assert set(overrides) <= set(RESUMABLE)
    elif parsed.config is None:
        assert not parsed.keys, "keys without a config"
    elif str(parsed.config) not in made_by_init():
        config = settings.load(KINDS[parsed.command], ROOT / parsed.config, overrides)
        assert "train.epochs" not in overrides or config.train.budget is None, "--train.epochs beside a budget"


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, equals, _ = word.partition("=")
        pattern = rf"^{variable} \?=" if equals else rf"^{word}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {word}"


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for names in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(names.split(",")) <= set(extras), f"no such extra: {names}"


def check_python(words: list[str]) -> None:
    if words[:1] == ["-m"]:
        assert words[1] in ("venv", "pip", "pytest", "monai.bundle"), f"python -m {words[1]}"
        return
    place = next((place for place, word in enumerate(words) if word.endswith(".py")), None)
    assert place is not None, "no script is named"
    script, rest = ROOT / words[place], words[place + 1 :]
    assert script.is_file(), f"no {words[place]}"
    text = script.read_text(encoding="utf-8")
    if command := re.search(r'main\(\["([\w-]+)"', text):  # a script that is a command of segcct
        check_segcct([command[1], *rest])
        return
    for flag in (word for word in rest if word.startswith("--")):
        assert f'"{flag}"' in text or is_key(flag[2:]), f"{words[place]} has no option {flag}"


def marked(line: ShellLine) -> object:
    """A line as a parameter; what may change in a resumed run is known to the trainer, which is slow to import."""
    return pytest.param(line, marks=pytest.mark.slow if "--resume" in line.words else ())


@pytest.mark.parametrize("line", [marked(line) for line in shell_lines()], ids=str)
def test_a_shell_line_is_understood(line: ShellLine) -> None:
    check(line.words)


@pytest.mark.parametrize(
    "wrong",
    [
        "segcct trian",
        "segcct predict --model RUN/best",
        "segcct predict --model M --input I --output O --splitt test",
        "segcct train-seg --config configs/brats_cct_unet.yaml --train.epoch 3",
        "segcct train-m2i --config configs/brats_m2i.yaml --train.epochs 3",
        pytest.param("segcct train-seg --resume runs/a --train.lr 1", marks=pytest.mark.slow),
        "segcct evaluate --prediction a --reference b --output c --scheme brats1999",
        "segcct train-seg --config configs/nowhere.yaml",
        "python scripts/predikt.py",
        "python scripts/export.py --model RUN/best --output a.onnx --int9",
        "python benchmarks/speed_models.py --modells unet",
        "make tests",
        "pip install .[everything]",
        "sgcct init data",
    ],
)
def test_a_wrong_line_would_be_found(wrong: str) -> None:
    with pytest.raises((AssertionError, SegcctError)):
        check(tuple(wrong.split()))
