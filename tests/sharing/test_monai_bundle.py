"""A bundle loads and runs by MONAI's own functions, and gives the masks of segcct predict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import load
from monai.bundle.scripts import run as run_bundle

from segcct.cli import main
from segcct.inference.loaded_model import load_network
from segcct.model_card import load_card
from segcct.phantom import write_phantom

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TERMS = ["--license", "mit", "--training-data", "a phantom"]


@pytest.fixture(scope="module")
def bundle(best: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "heart"
    assert main(["bundle", "--model", str(best), "--output", str(folder), *TERMS]) == 0
    return folder


def test_monai_loads_the_same_network(bundle: Path, best: Path) -> None:
    network = load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu")
    assert isinstance(network, torch.nn.Module)
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = load_network(best, load_card(best)).eval()
    with torch.no_grad():
        np.testing.assert_array_equal(network.eval()(image).numpy(), expected(image).numpy())


def test_monai_runs_it_to_the_same_masks(bundle: Path, best: Path, tmp_path: Path) -> None:
    write_phantom("acdc", tmp_path / "scans", 1, seed=0, reduce=8)
    words = ["predict", "--model", str(best), "--input", str(tmp_path / "scans")]
    assert main([*words, "--output", str(tmp_path / "expected")]) == 0
    run_bundle(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "masks"),
    )
    expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").glob("*.nii.gz")}
    assert len(expected) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "masks").glob("*.nii.gz")} == expected


def test_its_metadata_names_channels_classes_and_terms(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"]["channel_def"] == {"0": "cine"}
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "RV", "2": "MYO", "3": "LV"}
    assert (metadata["copyright"], metadata["data_source"]) == ("license mit", "a phantom")
    assert "license: mit" in (bundle / "docs" / "README.md").read_text()


def test_its_description_names_the_model_in_the_bundle_and_none_of_the_hub(bundle: Path) -> None:
    text = (bundle / "docs" / "README.md").read_text()
    assert text.count("heart/models/best") == 2  # the command, and Python
    assert (bundle.parent / "heart/models/best" / "model.json").is_file()
    assert "hf://" not in text


def test_a_name_that_monai_would_run_is_refused(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "--model", str(best), "--output", str(tmp_path / "$new"), *TERMS]) == 1
    assert "MONAI would run a text as an expression" in capsys.readouterr().err
    folder = Path(shutil.copytree(best, tmp_path / "best"))
    card = json.loads((folder / "model.json").read_text())
    card["scheme"]["classes"] = {"$__import__('os').remove('x')": 1, "MYO": 2, "LV": 3}
    (folder / "model.json").write_text(json.dumps(card))
    assert main(["bundle", "--model", str(folder), "--output", str(tmp_path / "new"), *TERMS]) == 1
    assert "MONAI would run a text as an expression" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("terms", [TERMS[:2], TERMS[2:]])
def test_it_is_not_made_without_terms_or_over_something(
    bundle: Path, best: Path, tmp_path: Path, terms: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "--model", str(best), "--output", str(tmp_path / "new"), *terms]) == 1
    assert "is empty" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["bundle", "--model", str(best), "--output", str(bundle), *TERMS]) == 1
    assert "exists already" in capsys.readouterr().err
