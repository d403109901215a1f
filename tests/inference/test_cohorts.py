"""Many cases: the work on one of them in other processes, and what a folder is after anything."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segcct.case_runner import CaseJob, run_cases, values
from segcct.inference.batched_inference import Inference
from segcct.inference.folder_prediction import PredictCase, predict_folder, resolve
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture, save_model
from segcct.models.zoo import create_model
from tests.support.toy_pair import card, data_section, predictor

HOW = Inference(batch_size=4, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def best(tmp_path_factory) -> Path:
    """A small model of 2-D images, untrained."""
    data = data_section(layout="pictures", channels={"gray": "images/{id}.png"}, label="masks/{id}.png")
    of = card("segmentation", data)
    built = Architecture(name="cct_unet_t", in_channels=1, num_classes=3, image_size=32)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "best"
    save_model(folder, create_model("cct_unet_t", 1, 3, 32).state_dict(), of.model_copy(update={"architecture": built}))
    return folder


@pytest.fixture
def images(tmp_path) -> Path:
    """Seven images of 24 by 32 pixels."""
    root, random = tmp_path / "images", np.random.default_rng(0)
    root.mkdir()
    for number in range(7):
        Image.fromarray(random.integers(0, 100, (24, 32), np.uint8)).save(root / f"case_{number}.png")
    return root


def masks_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}


def test_the_work_on_a_case_travels_as_paths_and_does_the_same_elsewhere(best, images, tmp_path):
    model = Predictor.load(best, HOW)
    request = resolve(model.card, images)
    predict_folder(model, request, tmp_path / "here")
    work = PredictCase(model, replace(request, cases=()), tmp_path / "there")
    weights = (best / "weights.safetensors").stat().st_size
    assert len(pickle.dumps(work)) < 20_000 < weights
    assert pickle.loads(pickle.dumps(work)).predictor is pickle.loads(pickle.dumps(model))  # loaded once
    jobs = [CaseJob(case.id, (case.id, case)) for case in request.cases]
    outcomes = list(run_cases(jobs, work, backend="processes", workers=1))
    assert len(values(outcomes)) == 7, outcomes
    assert masks_in(tmp_path / "there") == masks_in(tmp_path / "here")


def test_a_model_without_a_folder_stays_in_its_process():
    with pytest.raises(TypeError, match="not loaded from a folder"):
        pickle.dumps(predictor())
