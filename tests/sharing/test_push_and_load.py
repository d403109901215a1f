"""A model goes to a server and comes back from it: the same files, the same masks, and each failure in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from segcct import Predictor
from segcct.cli import main
from segcct.errors import HubError
from segcct.hub import hub_name, is_on_hub, local_model
from segcct.model_card import load_card
from segcct.models.weight_files import read_weights
from segcct.phantom import write_phantom
from tests.support.hub_server import GOOD_TOKEN, READ_TOKEN, HubServer, Repository

TERMS = ["--license", "cc-by-nc-4.0", "--training-data", "ACDC, 100 patients, by its own terms"]


def push(best: Path, *more: str, to: str = "lab/heart") -> int:
    return main(["push", str(best), to, *TERMS, *more])


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that a failed command prints."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("segcct "), lines
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own call of its client
@pytest.mark.parametrize("lfs", [False, True])
def test_push_uploads_the_model_and_its_description_in_one_commit(
    best: Path, hub: HubServer, lfs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.lfs = lfs
    assert push(best) == 0
    repository = hub.repositories["lab/heart"]
    assert set(repository.files) == {"README.md", "model.json", "weights.safetensors"}
    for name in ("model.json", "weights.safetensors"):
        assert repository.files[name] == (best / name).read_bytes()
    assert len(repository.commits) == 2  # the empty repository, and the model
    assert repository.private
    assert "segcct predict --model hf://lab/heart" in capsys.readouterr().out


def test_a_public_repository_is_asked_for(best: Path, hub: HubServer) -> None:
    assert push(best, "--public") == 0
    assert not hub.repositories["lab/heart"].private


def test_a_model_without_an_estimate_leaves_none_of_an_earlier_one(best: Path, hub: HubServer) -> None:
    hub.repositories["lab/heart"] = Repository(private=False)
    hub.repositories["lab/heart"].commit({"quality.json": b"{}", "notes.txt": b"kept"})
    assert push(best) == 0
    files = hub.repositories["lab/heart"].files
    assert "quality.json" not in files
    assert files["notes.txt"] == b"kept"


def test_predict_downloads_and_gives_the_same_masks(best: Path, hub: HubServer, tmp_path: Path) -> None:
    write_phantom("acdc", tmp_path / "acdc", 1, seed=0, reduce=8)
    scan = next((tmp_path / "acdc").rglob("*_frame01.nii.gz"))
    assert push(best) == 0
    for model, output in ((str(best), "local"), ("hf://lab/heart", "hub"), ("hf://lab/heart@main", "revision")):
        words = ["predict", "--model", model, "--input", str(scan), "--output", str(tmp_path / output)]
        assert main([*words, "--device", "cpu"]) == 0
    masks = [next((tmp_path / name).glob("*.nii.gz")).read_bytes() for name in ("local", "hub", "revision")]
    assert masks[0] == masks[1] == masks[2]


def test_a_download_is_used_again_without_a_network(
    best: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push(best) == 0
    online = local_model("hf://lab/heart")
    hub.repositories["lab/heart"].private = True
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert local_model("hf://lab/heart") == online
    assert len(hub.requests) == asked
    predictor = Predictor.load("hf://lab/heart")
    assert predictor.card == load_card(best)
    weights = read_weights(Path("hf://lab/heart")).tensors  # as model.pretrained names it
    for name, tensor in read_weights(best).tensors.items():
        np.testing.assert_array_equal(weights[name].numpy(), tensor.numpy())


@pytest.mark.slow
def test_a_download_that_breaks_off_is_no_model_and_is_finished_later(
    best: Path, hub: HubServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the attempts
    assert push(best) == 0
    hub.cut = 1000  # of weights of megabytes
    assert main(["predict", "--model", "hf://lab/heart", "--input", "x", "--output", "y"]) == 1
    assert "hf://lab/heart: " in failure(capsys)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="cannot be reached, and there is no earlier download"):
        local_model("hf://lab/heart")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.cut = None
    assert (local_model("hf://lab/heart") / "weights.safetensors").read_bytes() == (
        best / "weights.safetensors"
    ).read_bytes()


def test_only_the_files_of_a_model_are_downloaded(best: Path, hub: HubServer) -> None:
    assert push(best) == 0
    repository = hub.repositories["lab/heart"]
    repository.commit({**repository.files, "evil.pkl": b"\x80\x04.", "sub/model.json": b"{}"})
    folder = local_model("hf://lab/heart")
    assert sorted(path.name for path in folder.rglob("*")) == ["model.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights.safetensors": b"\0" * 100}, "do not belong to the model.json"),
        ({"model.json": b"{"}, "is not a model card"),
        ({"model.json": None}, "is not a model folder"),
        ({"weights.safetensors": None}, "weights are missing"),
    ],
)
def test_a_download_passes_the_checks_of_a_folder(
    best: Path, hub: HubServer, changed: dict[str, bytes | None], said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert push(best) == 0
    files = {**hub.repositories["lab/heart"].files, **changed}
    hub.repositories["lab/heart"].commit({name: content for name, content in files.items() if content is not None})
    write_phantom("acdc", tmp_path / "scans", 1, seed=0, reduce=8)
    scans = ["--input", str(tmp_path / "scans"), "--output", str(tmp_path / "masks")]
    assert main(["predict", "--model", "hf://lab/heart", *scans]) == 1
    assert said in failure(capsys)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf://lab/liver", "hf://lab/liver: no such repository"),
        ("hf://lab/heart@v9", "hf://lab/heart@v9: has no such revision"),
        ("hf://lab/gated", "hf://lab/gated: is open only to users who have accepted its terms"),
        ("hf://heart", "expected hf://OWNER/NAME"),
        ("hf://lab/../../etc", "expected hf://OWNER/NAME"),
        ("hf://lab/he--art..", "hf://lab/he--art..: does not name a model"),
    ],
)
def test_what_cannot_be_downloaded_is_one_clear_line(
    best: Path, hub: HubServer, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(best) == 0
    hub.repositories["lab/gated"] = Repository(private=False, gated=True)
    hub.repositories["lab/gated"].commit({})
    for words in (["predict", "--model", name], ["compare", "--i2m", str(best), "--m2i", name]):
        assert main([*words, "--input", "x", "--output", "y"]) == 1
        assert said in failure(capsys)


def test_no_network_and_no_download_is_one_clear_line(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["predict", "--model", "hf://lab/heart", "--input", "x", "--output", "y"]) == 1
    line = failure(capsys)
    assert "hf://lab/heart: the server cannot be reached, and there is no earlier download" in line
    assert "HF_HUB_OFFLINE" in line


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "nobody is logged in"),
        (READ_TOKEN, "this login has no permission (found You don't have the rights to create a model"),
    ],
)
def test_a_user_without_write_access_is_refused(
    best: Path, hub: HubServer, token: str, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token)
    assert push(best) == 1
    line = failure(capsys)
    assert said in line
    assert "hf auth login" in line
    assert token == "" or token not in line
    assert hub.repositories == {}


def test_a_license_that_the_server_does_not_know_is_named(
    best: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(best), "lab/heart", "--license", "Apache 2.0", "--training-data", "ACDC"]) == 1
    line = failure(capsys)
    assert "hf://lab/heart: the server does not take the description" in line
    assert '"license" must be one of [apache-2.0, cc-by-nc-4.0, other]' in line
    assert "Give the license by a name listed at " in line
    assert "network" not in line
    assert hub.repositories["lab/heart"].files == {}
    assert push(best) == 0


@pytest.mark.parametrize("flag", ["--license", "--training-data"])
@pytest.mark.parametrize("text", ["", "  ", None])
def test_a_model_without_its_terms_is_not_pushed(
    best: Path, hub: HubServer, flag: str, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    place = TERMS.index(flag)
    terms = [*TERMS[:place], *([] if text is None else [flag, text]), *TERMS[place + 2 :]]
    assert main(["push", str(best), "lab/heart", *terms]) == 1
    assert f"{flag} is empty" in failure(capsys)
    assert hub.requests == []


def test_a_damaged_model_is_not_pushed(
    best: Path, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = Path(shutil.copytree(best, tmp_path / "best"))
    with (damaged / "weights.safetensors").open("ab") as stream:
        stream.write(b"more")
    assert push(damaged) == 1
    assert "do not belong to the model.json" in failure(capsys)
    assert hub.requests == []


def test_calibrate_refuses_a_download(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--i2m", "hf://lab/heart"]) == 1
    assert "hf://lab/heart: a download has no splits.json" in failure(capsys)
    assert hub.requests == []


def test_a_dry_run_prints_the_description_and_uploads_nothing(
    best: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(best, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "license: cc-by-nc-4.0" in printed
    assert "would upload README.md, model.json, weights.safetensors" in printed
    assert hub.requests == []


def test_the_name_of_a_repository_is_checked(best: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ((), ("--dry-run",)):
        assert push(best, *more, to="heart") == 1
        assert "expected OWNER/NAME" in failure(capsys)


@pytest.mark.slow
def test_another_server_is_named_by_the_environment(best: Path, hub: HubServer, tmp_path: Path) -> None:
    """As a user has it: a process of its own, with HF_ENDPOINT, HF_HOME and HF_TOKEN."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": GOOD_TOKEN}
    environment = {**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"}
    program = (
        "import sys; from segcct.cli import main; from segcct.hub import local_model; "
        "code = main(sys.argv[1:]); local_model('hf://lab/heart'); sys.exit(code)"
    )
    words = [sys.executable, "-c", program, "push", str(best), "lab/heart", *TERMS]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "weights.safetensors" in hub.repositories["lab/heart"].files
    assert (tmp_path / "home" / "hub" / "models--lab--heart").is_dir()


def test_names_survive_as_paths() -> None:
    assert is_on_hub("hf://a/b")
    assert is_on_hub(Path("hf://a/b"))
    assert hub_name(Path("hf://a/b@v1")) == "hf://a/b@v1"
    assert not is_on_hub("runs/hf/best")
    assert local_model("runs/a/best") == Path("runs/a/best")
    with pytest.raises(HubError):
        local_model("hf://a")


def test_scores_of_the_readme_name_no_case(best: Path, tmp_path: Path, hub: HubServer) -> None:
    """An evaluation of these weights is found next to best/; the table names neither its cases nor folders."""
    run = tmp_path / "run"
    shutil.copytree(best, run / "best")
    write_phantom("acdc", tmp_path / "acdc", 1, seed=0, reduce=8)
    words = ["predict", "--model", str(run / "best"), "--input", str(tmp_path / "acdc"), "--output"]
    assert main([*words, str(run / "predictions")]) == 0
    evaluate = ["evaluate", "--prediction", str(run / "predictions"), "--reference", str(tmp_path / "acdc")]
    assert main([*evaluate, "--output", str(run / "evaluation")]) == 0
    assert push(run / "best") == 0
    readme = hub.repositories["lab/heart"].files["README.md"].decode()
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert f"| **mean of classes** | {summary['overall']['dice']['mean']:.3f}" in readme
    assert not [case for case in summary["case_dice"] if case in readme]
    assert str(tmp_path) not in readme
