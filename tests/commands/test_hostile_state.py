"""Hostile files of state, each through the command that reads it: one line that names the file, nothing written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from tests.support.hostile_checkpoint import PAYLOAD_RAN
from tests.support.hostile_state import Mutation, mutations, sealed
from tests.support.hostile_world import World, run

pytestmark = pytest.mark.slow
ALL = list(mutations())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_names_are_unlike_and_many():
    assert len({mutation.name for mutation in ALL}) == len(ALL) >= 120


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_hostile_state_is_refused_in_one_line(world: World, mutation: Mutation):
    trial = world.tried(mutation)
    assert "Traceback" not in trial.text
    assert trial.seconds < 10
    if mutation.either and trial.status == 0:
        return
    assert trial.status == 1, trial.text
    refusal = trial.refusal
    assert refusal.startswith(f"segcct {world.commands[mutation.command][0]}: ")
    assert names_the_file(world, mutation, trial.text, refusal), trial.text
    assert "bug" not in refusal
    assert len(refusal) < 1500
    assert not trial.wrote
    assert not PAYLOAD_RAN.exists()


def names_the_file(world: World, mutation: Mutation, text: str, refusal: str) -> bool:
    """By its name; or the refusal names its folder, or another file of it, by the whole path."""
    file = world.at(mutation.file)
    if mutation.named == "" or file.name in text or (mutation.named and mutation.named in text):
        return True
    told = text[text.rindex(refusal) :]  # with the reasons that follow
    return file.parent != world.folder and re.search(rf"{re.escape(str(file.parent))}(?![\w.-])", told) is not None


def test_the_sound_world_is_accepted(world: World):
    for name in ("predict", "predict classes", "evaluate", "report", "report classes", "report pair"):
        status, text = run(world.commands[name])
        shutil.rmtree(world.out, ignore_errors=True)
        assert status == 0, text


def test_weights_under_a_digest_that_fits_are_still_compared_with_the_network(world: World, tmp_path: Path):
    best = Path(shutil.copytree(world.at("seg/best"), tmp_path / "best"))
    weights = load_file(best / "weights.safetensors")
    first = next(iter(weights))
    others = {
        "one is missing": {name: value for name, value in weights.items() if name != first},
        "one too many": {**weights, "extra": torch.ones(3)},
        "another shape": {**weights, first: torch.ones(2)},
        "none at all": {},
    }
    for name, tensors in others.items():
        sealed(best, save(tensors))
        (best / "quality.json").unlink(missing_ok=True)
        status, text = run(["predict", "--model", best, "--input", world.at("scans"), "--output", tmp_path / "out"])
        assert status == 1, (name, text)
        assert "weights do not fit the cct_unet_t" in text
        assert "weights.safetensors" in text
        assert not (tmp_path / "out").exists()
