"""The command line itself: help, usage errors, exit codes, and the scripts."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel, TypeAdapter

from segcct.cli import main
from segcct.commands import build_parser
from segcct.config import ClassificationConfig, ReconstructionConfig, SegmentationConfig, settings
from segcct.config.config_keys import keys
from segcct.phantom import write_phantom

ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    parser = build_parser()
    return list(next(a for a in parser._actions if a.dest == "command").choices)


@pytest.mark.parametrize("command", commands())
def test_every_option_has_help(command):
    parser = next(a for a in build_parser()._actions if a.dest == "command").choices[command]
    assert all(action.help for action in parser._actions)


@pytest.mark.parametrize("command", [None, *commands()])
def test_help_holds_nothing_of_the_program_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*([] if command is None else [command]), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "usage: segcct" in text
    inner = (
        "PydanticUndefined",
        "<class",
        "<function",
        "lambda",
        "object at 0x",
        "PosixPath",
        "SUPPRESS",
        "%(",
        "None]",
    )
    assert [word for word in inner if word in text] == []


@pytest.mark.parametrize("kind", [SegmentationConfig, ReconstructionConfig, ClassificationConfig])
def test_help_shows_defaults_that_can_be_typed(kind):
    """What stands behind "default" is YAML for the default itself."""
    shown = re.findall(r"--(\S+)  \[(required|default (.*))\]", settings.describe(kind))
    fields = {key.name: key.field for key in keys(kind)}
    assert [name for name, _, _ in shown] == list(fields)
    assert "model.options" in fields
    for name, _, text in shown:
        field = fields[name]
        if not field.is_required():
            default = field.get_default(call_default_factory=True, validated_data={})
            if not isinstance(default, BaseModel):
                assert TypeAdapter(field.annotation).validate_python(yaml.safe_load(text)) == default, name


def test_training_help_lists_the_keys(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train-seg", "--help"])
    assert ended.value.code == 0
    assert "--train.budget" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "write a small synthetic dataset"),
        (["predct"], "no command 'predct'. Did you mean predict?"),
        (["train"], "no command 'train'. Did you mean pretrain or train-"),
        (["xyz"], "no command 'xyz'. See segcct --help"),
        ([""], "no command ''. See segcct --help"),
        (["train-seg"], "one of the arguments --config --resume is required"),
        (
            ["train-seg", "--config", "a.yaml", "--epochs", "3"],
            "no option --epochs. Nearest valid key: --train.epochs.",
        ),
        (["train-seg", "--config", "a.yaml", "--dry"], "no option --dry. Did you mean --dry-run?"),
        (["check", "--data", "x"], "no option --data (configuration keys look like --data.root)"),
        (["predict", "--mod", "x", "--input", "y", "--output", "z"], "no option --mod. Did you mean --model?"),
        (["train-seg", "--config", "a.yaml", "--batch-size", "3"], "Nearest valid key: --train.batch_size."),
        (["predict", "-model", "x"], "no option -model. Did you mean --model?"),
        (["predict", "--modle=x"], "no option --modle. Did you mean --model?"),
        (["compare", "--m2", "x", "--i2m", "y"], "no option --m2. Did you mean --m2i?"),
        (["predict", "--out", "x"], "no option --out. Did you mean --output?"),
        (["compare", "--model", "x"], "no option --model. See segcct compare --help"),
        (["--debug", "predict"], "no option --debug before the command. Options follow the command"),
        (["--verison"], "no option --verison before the command. Did you mean --version?"),
        (["predict", "--input", "y"], "required: --model, --output"),
        (["predict", "--model", "x", "--input", "y", "y2", "--output", "z"], "unexpected argument y2"),
        (["predict", "--model", "x", "--input", "y", "--output", "z", "--split", "all"], "invalid choice: 'all'"),
        (
            ["evaluate", "--prediction", "x", "--reference", "y", "--output", "z", "--tolerence", "1"],
            "no option --tolerence. Did you mean --tolerance?",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", commands())
def test_each_command_names_the_option_that_was_meant(command, capsys):
    """A letter too many in any option is said before other options are missed."""
    parser = next(a for a in build_parser()._actions if a.dest == "command").choices[command]
    for action in parser._actions:
        option = action.option_strings[-1] if action.option_strings else ""
        if not option or action.help == "==SUPPRESS==":
            continue
        with pytest.raises(SystemExit) as ended:
            main([command, f"{option}x", "1"])
        assert ended.value.code == 2
        assert f"no option {option}x. Did you mean {option}?" in capsys.readouterr().err


_EVALUATE = ["evaluate", "--prediction", "x", "--reference", "y", "--output", "z"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--config", "a.yaml", "--lines", "-1"], "--lines: -1 is not a whole number from 0"),
        (["phantom", "acdc", "x", "--cases", "0"], "--cases: 0 is not a whole number of at least 1"),
        (["phantom", "acdc", "x", "--reduce", "0"], "--reduce: 0 is not a whole number of at least 1"),
        (["phantom", "acdc", "x", "--seed", "-1"], "--seed: -1 is not a whole number from 0"),
        ([*_EVALUATE, "--workers", "0"], "--workers: 0 is not a whole number of at least 1"),
        ([*_EVALUATE, "--tolerance", "-1"], "--tolerance: -1 is not a number above 0"),
        ([*_EVALUATE, "--tolerance", "inf"], "--tolerance: inf is not a number above 0"),
        (["models", "unet", "--size", "0"], "--size: 0 is not a whole number of at least 1"),
        (["models", "unet", "--channels", "0"], "--channels: 0 is not a whole number of at least 1"),
        (["models", "unet", "--classes", "-2"], "--classes: -2 is not a whole number of at least 1"),
        (["cluster-segment", "--input", "x", "--output", "y", "--fuzzifier", "1"], "1 is not a number above 1"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_next_command_can_be_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    phantom = ["phantom", "brats", "my scans", "--cases", "4", "--reduce", "8"]
    assert main(phantom) == 0
    assert shlex.split(capsys.readouterr().out.split("next: ")[1]) == ["segcct", "init", "my scans"]
    Path("configs").mkdir()
    Path("configs/brats_cct_unet.yaml").touch()
    shutil.rmtree("my scans")
    assert main(phantom) == 0
    config = ["--config", "configs/brats_cct_unet.yaml", "--data.root", "my scans"]
    assert shlex.split(capsys.readouterr().out.split("next: ")[1]) == ["segcct", "train-seg", *config]
    assert main(["init", "my scans"]) == 0
    assert shlex.split(capsys.readouterr().out.split("next: ")[1])[-1] == "configs/my scans.yaml"
    config = ["--config", "configs/my scans.yaml", "--run.name", "a b"]
    assert main(["check", *config, "--quick"]) == 0
    assert shlex.split(capsys.readouterr().out.split("next: ")[1]) == ["segcct", "train-seg", *config]


def test_a_config_of_every_task_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_phantom("acdc", Path("scans"), 4, reduce=8)
    for label in Path("scans").rglob("*_gt.nii.gz"):
        label.write_bytes(b"no image")  # a pre-training does not open it

    def check(config: str, *keys: str) -> tuple[int, str, str]:
        code = main(["check", "--config", str(ROOT / "configs" / config), "--data.root", "scans", *keys])
        return code, *capsys.readouterr()

    drawn = ["--data.layout", "acdc", "--data.channels", "{cine: '{id}.nii.gz'}"]
    drawn += ["--data.split", "{kind: fractions, train_list: null, test_list: null}"]
    drawn += ["--data.intensity.rule", "zscore_nonzero"]
    code, shown, _ = check("acdc_pretrain.yaml", *drawn)
    assert (code, shown.split("next: ")[1].split()[:2]) == (0, ["segcct", "pretrain"])
    code, shown, _ = check("acdc_m2i.yaml", "--data.split", "{kind: fractions}")
    assert (code, "_gt.nii.gz" in shown) == (1, True)
    code, _, told = check("acdc_pretrain.yaml", "--train.maskratio", "0.5")
    assert (code, "Nearest valid key: train.mask_ratio" in told) == (1, True)
    code, _, told = check("fashion_mnist.yaml")
    assert (code, "one of segcct train-cls" in told) == (1, True)


@pytest.mark.parametrize("layout", ["brats", "acdc", "synapse"])
def test_the_next_command_of_a_phantom_trains_on_it(layout, monkeypatch, capsys):
    monkeypatch.setattr("segcct.phantom.write_phantom", lambda *_, **__: ["one"])
    monkeypatch.chdir(ROOT)
    assert main(["phantom", layout, "scans"]) == 0
    words = shlex.split(capsys.readouterr().out.split("next: ")[1])
    config = settings.load(SegmentationConfig, ROOT / words[3], settings.parse_overrides(words[4:]))
    assert config.data.root == Path("scans")
    assert config.data.split.kind != "lists"


def test_debug_shows_the_traceback():
    from segcct.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["train-seg", "--config", "nowhere.yaml", "--debug"])


ORDINARY = {
    "a full disk": (OSError(28, "No space left on device", "runs/a/mask.nii.gz"), "runs/a/mask.nii.gz: No space left"),
    "no name": (OSError(28, "No space left on device"), "models: No space left on device"),
    "no number": (OSError("the image ends too early"), "models: the image ends too early"),
    "no memory": (torch.OutOfMemoryError("CUDA out of memory"), "models: too little memory\n"),
    "no memory for an array": (MemoryError(), "models: too little memory\n"),
    "no memory for a tensor": (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), "too little memory\n"),
    "a GPU that others have filled": (RuntimeError("CUDA error: out of memory\nCompile with"), "too little memory\n"),
    "no memory on MPS": (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "too little memory\n"),
    "no memory for cuBLAS": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "too little memory\n"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_failures_of_the_machine_are_one_line(name, monkeypatch, capsys):
    error, words = ORDINARY[name]

    def fail(arguments):
        raise error

    monkeypatch.setattr("segcct.commands.list_models._models", fail)
    assert main(["models"]) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1
    with pytest.raises(type(error)):
        main(["models", "--debug"])


def test_a_bug_is_not_taken_for_an_expected_failure(monkeypatch):
    def fail(arguments):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("segcct.commands.list_models._models", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        main(["models"])


def test_the_drawing_of_a_notebook_in_another_environment_is_not_asked_for(monkeypatch):
    """Commands behind `!` inherit it, and the import of matplotlib fails for a module that is not there."""
    for backend, expected in (("module://matplotlib_inline.backend_inline", None), ("svg", "svg")):
        monkeypatch.setenv("MPLBACKEND", backend)
        assert main(["doctor", "--no-speed", "--json"]) == 0
        assert os.environ.get("MPLBACKEND") == expected


def test_an_output_that_cannot_be_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["phantom", "acdc", str(tmp_path / "file" / "data"), "--cases", "1"]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_scripts_are_thin_wrappers_of_commands(script, monkeypatch, capsys):
    file = ROOT / "scripts" / script
    monkeypatch.setattr(sys, "argv", [str(file), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(file), run_name="__main__")
    assert ended.value.code == 0
    name = "segcct" if "segcct.cli" in file.read_text(encoding="utf-8") else script
    assert capsys.readouterr().out.startswith(f"usage: {name} ")


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        ("print('x' * 10**6)", "141", ""),
        ("raise BrokenPipeError(32, 'Broken pipe')", "1", "segcct models: Broken pipe\n"),
    ],
)
def test_what_ends_before_it_is_done_is_no_success(tmp_path, body, code, shown):
    """Where nobody reads the output any longer, and where the pipe of a worker breaks."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from segcct.cli import main\n"
        "from segcct.commands import list_models\n"
        "def models(arguments):\n"
        f"    {body}\n"
        "list_models._models = models\n"
        "sys.exit(main(['models']))\n",
        encoding="utf-8",
    )
    command = f"({sys.executable} {program}; echo $? >&2) | head -c 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert ended.stderr == f"{shown}{code}\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_streams_that_the_shell_has_closed_are_not_missed(tmp_path):
    program = shlex.join([sys.executable, "-m", "segcct.cli", "phantom", "acdc", "scans", "--cases", "1"])
    ended = subprocess.run(["sh", "-c", f"{program} --reduce 8 <&- >&- 2>&-"], cwd=tmp_path, check=False)
    assert ended.returncode == 0
    assert list((tmp_path / "scans").rglob("*.nii.gz"))


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("closed", "name"), [("<&-", "stdin"), (">&-", "stdout"), ("2>&-", "stderr")])
def test_the_processes_of_a_command_have_the_streams_that_the_shell_has_closed(closed, name):
    child = f"import sys; sys.exit(sys.{name} is None)"
    program = (
        "import subprocess, sys; from segcct.cli import _open_closed_streams; _open_closed_streams(); "
        f"sys.exit(subprocess.call([sys.executable, '-c', {child!r}]))"
    )
    command = shlex.join([sys.executable, "-c", program])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", f"{command} {closed}"], env=environment, check=False).returncode == 0
