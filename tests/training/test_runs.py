"""The best/ folder: equal after saving and loading, and refused with a reason when something is wrong with it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import stat

import pytest
import torch

from segcct.errors import CheckpointError, RunError
from segcct.model_card import Architecture, ModelCard, SchemeCard, load_card, load_weights, save_model
from segcct.provenance import provenance

CARD = ModelCard(
    task="segmentation",
    architecture=Architecture(name="unet", in_channels=1, num_classes=4, image_size=32),
    data={"layout": "acdc", "channels": {"cine": "*.nii.gz"}, "scheme": "acdc"},
    scheme=SchemeCard(name="acdc", classes={"RV": 1, "MYO": 2, "LV": 3}, regions={"heart": (1, 2, 3)}),
    selected_on={"metric": "val_dice", "value": 0.5, "epoch": 3},
    data_fingerprint="abc",
    provenance={},
)
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}


@pytest.fixture
def best(tmp_path):
    save_model(tmp_path / "best", WEIGHTS, CARD)
    return tmp_path / "best"


def test_saved_and_loaded_are_equal(best):
    card = load_card(best)
    assert card == CARD.model_copy(update={"weights_sha256": card.weights_sha256})
    assert card.scheme.scheme().regions == {"heart": (1, 2, 3)}
    weights = load_weights(best, card)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_saving_again_replaces_the_whole_folder(best):
    save_model(best, {"b": torch.ones(1)}, CARD)
    assert list(load_weights(best, load_card(best))) == ["b"]
    assert sorted(path.name for path in best.parent.iterdir()) == ["best"]


def test_card_reads_its_own_data_section(best, tmp_path):
    assert load_card(best).data_section(tmp_path).layout == "acdc"


def test_damaged_weights_are_refused(best):
    file = best / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-2] + b"zz")
    with pytest.raises(CheckpointError, match=r"damaged.*Copy the best/ folder again"):
        load_weights(best, load_card(best))


def test_missing_weights_are_named(best):
    (best / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="weights are missing"):
        load_weights(best, load_card(best))


@pytest.mark.parametrize("text", ["{}", "not json", '{"format": 2}'])
def test_a_card_of_another_kind_is_refused(best, text):
    (best / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a model card"):
        load_card(best)


def test_a_card_that_lists_case_ids_is_refused(best):
    """They would be repeated in files that are shared."""
    card = json.loads((best / "model.json").read_text())
    card["selected_on"]["cases"] = ["Mueller_1950"]
    (best / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="the cases of selected_on must be a number") as refused:
        load_card(best)
    assert "Mueller" not in str(refused.value)


def test_naming_the_run_instead_of_best_says_so(best):
    with pytest.raises(RunError, match=r"Name .*best"):
        load_card(best.parent)


@pytest.mark.parametrize("named", ["last.ckpt", "best/model.json", "best/weights.safetensors", "gone"])
def test_naming_a_file_of_the_run_says_so(best, named):
    (best.parent / "last.ckpt").write_bytes(b"state")
    with pytest.raises(RunError, match=f"is not a model folder.* Name {best}$"):
        load_card(best.parent / named)


def test_provenance_names_versions_and_time():
    made = provenance("f00")
    assert made["packages"]["torch"] == importlib.metadata.version("torch")
    assert made["data_fingerprint"] == "f00"
    assert made["time"].endswith("+00:00")


def test_the_command_of_a_result_can_be_run_again(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/segcct", "predict", "--input", "my scans/a&b.nii.gz"])
    assert provenance()["command"] == "segcct predict --input 'my scans/a&b.nii.gz'"


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_weights_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_model(tmp_path / "best", WEIGHTS, CARD)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "best").iterdir()}
    assert modes == {0o666 & ~umask}
