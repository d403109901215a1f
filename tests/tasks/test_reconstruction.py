"""M2I training: the loss, what a batch holds, selection, and the whole way through the commands on a phantom."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from segcct.cli import main
from segcct.config import ReconstructionConfig, ReconstructionLossSection, settings
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import find_cases, read_case
from segcct.datasets.split_record import Splits
from segcct.errors import ConfigError, DataError, LabelError, TrainingError
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.reconstructor import Reconstructor
from segcct.metrics.image import image_distances
from segcct.model_card import load_card
from segcct.preparation.conditioning import signed_distances
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.prepared_case import PreparedCase, prepare_case
from segcct.run_folder import RunFolder
from segcct.tasks.reconstruction.reconstruction_loss import TERMS, ReconstructionLoss, gradient_difference
from segcct.tasks.reconstruction.reconstruction_task import ReconstructionTask
from segcct.tasks.slice_task import mean_scores
from segcct.tasks.training_dataset import TrainingData
from segcct.training.trainer import fit
from tests.support.toy_pair import data_section, loaded_case

ROOT = Path(__file__).parents[2]
HOW = InferenceSettings(batch_size=4, device="cpu")


def config(**overrides: object) -> ReconstructionConfig:
    data = {**data_section().model_dump(mode="json"), "foreground_fraction": 1.0}
    train = {"epochs": 2, "batch_size": 4, "slices_per_epoch": 8, "ema": 0.9}
    return settings.build(ReconstructionConfig, {"data": data, "train": train}, overrides, source="test")


def toy_cases(noise: float) -> tuple[Scheme, list[PreparedCase]]:
    scheme = Scheme("custom", {"low": 3, "high": 7})
    made = [prepare_case(loaded_case(noise=noise), Preparation.of(data_section()), scheme)]
    return scheme, made


def toy_task(noise: float = 4.0, **overrides: object) -> ReconstructionTask:
    scheme, cases = toy_cases(noise)
    dataset = TrainingData(scheme, Splits(("toy",), ()), cases, cases, "none", frozenset({"toy"}))
    return ReconstructionTask(config(**overrides), dataset)


def only(**weights: float) -> ReconstructionLoss:
    return ReconstructionLoss(
        ReconstructionLossSection(**{"l1": 0, "foreground": 0, "ssim": 0, "gradient": 0, **weights})
    )


@pytest.fixture
def images() -> tuple[torch.Tensor, ...]:
    """Made and true standardized images (2, 1, 24, 20), foreground, mean and sd."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(2, 2, 1, 24, 20, generator=generator)
    mean, sd = torch.tensor([[0.3], [0.5]]), torch.tensor([[0.1], [0.2]])
    made, true = ((each - mean[..., None, None]) / sd[..., None, None] for each in unit)
    foreground = torch.zeros(2, 24, 20, dtype=torch.bool)
    foreground[0, 5:9, 5:9] = True
    return made, true, foreground, mean, sd


def test_l1_everywhere_and_in_the_structures(images):
    made, true, foreground, *units = images
    difference = (made - true).abs()
    assert only(l1=2)(*images).item() == pytest.approx(2 * difference.mean().item())
    inside = difference[:, 0][foreground].mean().item()
    assert only(foreground=3)(*images).item() == pytest.approx(3 * inside, rel=1e-5)
    squared = difference[:, 0][foreground].square().mean().item()
    assert only(foreground_squared=3)(*images).item() == pytest.approx(3 * squared, rel=1e-5)
    for name in ("foreground", "foreground_squared"):
        assert only(**{name: 1})(made, true, torch.zeros_like(foreground), *units).item() == 0


def test_ssim_is_that_of_the_metric_up_to_the_border(images):
    """In [0, 1] units; the loss leaves out the border of half a window."""
    made, true, _, mean, sd = images
    expected = []
    for index in range(2):
        one, other = (each[index, 0].numpy() * sd[index].item() + mean[index].item() for each in (made, true))
        _, full = structural_similarity(
            one, other, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        expected.append(full[5:-5, 5:-5].mean())
    assert only(ssim=1)(*images).item() == pytest.approx(1 - np.mean(expected), abs=1e-4)


def test_mixed_precision_leaves_the_loss_exact(images):
    loss = ReconstructionLoss(ReconstructionLossSection())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(*images).item()
    assert mixed == loss(*images).item()


def test_gradient_difference_by_hand():
    true = torch.zeros(1, 1, 2, 3)
    made = torch.tensor([[[[0.0, 1.0, 1.0], [0.0, 1.0, 3.0]]]])
    assert gradient_difference(made, true).item() == pytest.approx((2 / 3 + 4 / 4) / 2)
    assert gradient_difference(made + 5, made).item() == 0


def test_each_weight_has_its_term_and_the_loss_is_their_sum(images):
    assert list(TERMS) == list(ReconstructionLossSection.model_fields)
    weights = dict(zip(TERMS, (0.5, 1.0, 2.0, 3.0, 4.0), strict=True))
    terms = sum(only(**{name: weight})(*images).item() for name, weight in weights.items())
    assert ReconstructionLoss(ReconstructionLossSection(**weights))(*images).item() == pytest.approx(terms)


def test_equal_images_cost_nothing(images):
    _, true, *rest = images
    assert ReconstructionLoss(ReconstructionLossSection())(true, true, *rest).item() == pytest.approx(0, abs=1e-6)


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="must be above 0"):
        config(**{"train.loss": {"l1": 0, "foreground": 0, "ssim": 0, "gradient": 0}})


def test_a_batch_holds_what_the_generator_is_conditioned_on():
    task = toy_task(**{"augment.rotate_deg": 30})
    loader = task.loader(0, 1)
    loader.sampler.set_epoch(3)
    batch = next(iter(loader))
    assert batch["image"].shape == (4, 1, 32, 32)
    for place in range(4):
        label = batch["label"][place].numpy()
        np.testing.assert_array_equal(batch["distance"][place], signed_distances(label, 3))  # after augmentation
        assert batch["position"][place].item() == pytest.approx(batch["slice"][place].item() / 4)
    unit = batch["image"] * batch["std"][..., None, None] + batch["mean"][..., None, None]
    assert 0 <= unit.min() <= unit.max() <= 1


def test_intensities_are_left_alone_unless_asked_for():
    assert config().augment.intensity == config().augment.noise == config().augment.blur == 0
    assert config(**{"augment.flip": 0.1}).augment.noise == 0


def test_figures_that_are_not_defined_are_left_out():
    case = {"val_gain": 0.5, "val_rmse_foreground": 0.9, "val_rmse": 0.1}
    none = {"val_gain": None, "val_rmse_foreground": None, "val_rmse": 0.3}
    assert mean_scores({"a": case, "b": none}) == pytest.approx(
        {"val_gain": 0.5, "val_rmse_foreground": 0.9, "val_rmse": 0.2}
    )
    assert mean_scores({"b": none}) == pytest.approx({"val_rmse": 0.3})


def test_validation_cases_that_say_nothing_end_the_training():
    scheme, (case,) = toy_cases(noise=0)
    flat = replace(case, arrays={**case.arrays, "image": np.full_like(case.image, 0.5)})
    task = ReconstructionTask(
        config(), TrainingData(scheme, Splits(("toy",), ()), [case], [flat], "none", frozenset({"toy"}))
    )
    with pytest.raises(TrainingError, match="each of its structures has one intensity"):
        task.validate(task.network, "cpu", 0, 1)
    empty = replace(case, arrays={**case.arrays, "label": np.zeros_like(case.label)})
    task = ReconstructionTask(
        config(), TrainingData(scheme, Splits(("toy",), ()), [case], [empty], "none", frozenset({"toy"}))
    )
    with pytest.raises(TrainingError, match=r"none holds a structure .*found toy"):
        task.validate(task.network, "cpu", 0, 1)


@pytest.mark.parametrize("key", ["augment.intensity", "augment.scanner"])
def test_a_change_of_intensity_needs_a_style(key):
    with pytest.raises(ConfigError, match=f"{key} changes what the generator knows only by a style code"):
        config(**{key: 0.5, "model.options": {"style": "none"}})
    config(**{key: 0.5})


def test_some_of_many_validation_cases_select_the_weights():
    scheme, (case,) = toy_cases(noise=4)
    many = [replace(case, case_id=f"case{number:02}") for number in range(30)]
    dataset = TrainingData(scheme, Splits(("toy",), ()), [case], many, "none", frozenset({"toy"}))
    task = ReconstructionTask(config(**{"train.validate_cases": 4}), dataset)
    assert [case.case_id for case in task.validation_cases] == ["case00", "case10", "case19", "case29"]
    assert task.card({}).selected_on["cases"] == 4
    figures = task.validate(task.network, "cpu", 0, 1)
    assert set(figures) == {"val_gain", "val_rmse_foreground", "val_rmse"}
    made = Reconstructor(task.network, task.card({}), HOW).reconstruct(case)
    assert figures["val_gain"] == pytest.approx(made.gain, abs=1e-6)
    assert figures["val_rmse"] == pytest.approx(made.distances["whole"].rmse, rel=1e-6)
    assert figures["val_rmse_foreground"] == pytest.approx(made.distances["foreground"].rmse, rel=1e-6)
    assert len(ReconstructionTask(config(), dataset).validation_cases) == 16
    assert len(toy_task().validation_cases) == 1


def test_it_learns_what_the_mask_explains(tmp_path):
    """Rings inside the disc, which neither a constant nor a slope per class can paint, from 60 steps."""
    scheme, cases = toy_cases(noise=1)
    image, label = np.asarray(cases[0].image).copy(), np.asarray(cases[0].label)
    for index in range(len(label)):
        depth = signed_distances(label[index], 3)[1]
        image[index, 0] = np.where(label[index] == 2, 0.5 + 0.3 * np.cos(31 * (depth - 0.1)), image[index, 0])
    cases[0].arrays["image"][:] = image  # type: ignore[index]
    more = {"train.epochs": 15, "train.slices_per_epoch": 16, "train.lr": 1e-2, "augment.strength": 0}
    task = ReconstructionTask(config(**more), TrainingData(scheme, Splits(("toy",), ()), cases, cases, ""))
    before = task.validate(task.network, "cpu", 0, 1)["val_gain"]
    task.network.train()
    best = fit(task, RunFolder.create(tmp_path / "run"), task.config.train, seed=0)
    assert best["metric"] == "val_gain"
    assert before < 0.2
    assert best["value"] > 0.4


def command(phantom: Path, root: Path, **more: str) -> list[str]:
    """`train-m2i` arguments: the BraTS config on the phantom, small; `more` as in `training_command`."""
    overrides = {
        "--data.root": str(phantom),
        "--data.cache": str(phantom.parent / "cache"),
        "--data.image_size": "64",
        "--data.split.val": "0.2",
        "--data.split.test": "0.2",
        "--run.root": str(root),
        "--run.name": "m2i",
        "--train.budget": "null",
        "--train.epochs": "2",
        "--train.slices_per_epoch": "32",
        "--train.batch_size": "8",
        "--train.precision": "fp32",
        **{"--" + name.replace("__", "."): value for name, value in more.items()},
    }
    arguments = ["train-m2i", "--config", str(ROOT / "configs" / "brats_m2i.yaml")]
    return arguments + [word for pair in overrides.items() for word in pair]


@pytest.fixture(scope="module")
def generator(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short M2I training on the phantom."""
    root = tmp_path_factory.mktemp("m2i")
    assert main(command(phantom, root)) == 0
    return root / "m2i"


@pytest.mark.slow
def test_the_run_folder_is_whole(generator):
    names = {path.name for path in generator.iterdir()}
    assert {"config.yaml", "splits.json", "metrics.csv", "last.ckpt", "best", "summary.json"} <= names
    card = load_card(generator / "best")
    assert (card.task, card.architecture.name, card.synthetic) == ("reconstruction", "m2i_s", True)
    assert card.selected_on["metric"] == "val_gain"
    assert card.selected_on["cases"] == len(Splits.load(generator / "splits.json").val)


@pytest.mark.slow
def test_reconstruction_of_a_case_that_was_never_seen(generator, phantom):
    reconstructor = Reconstructor.load(generator / "best", HOW)
    data = reconstructor.card.data_section(phantom)
    name = Splits.load(generator / "splits.json").test[0]
    case = next(each for each in find_cases(data) if each.id == name)
    made = reconstructor.reconstruct_case(read_case(case, data, reconstructor.scheme))
    assert made.image.shape == made.original.shape
    assert np.isfinite(made.image).all()
    assert 0 <= made.image.min() <= made.image.max() <= 1
    assert made.volume(2).shape == made.grid.shape_xyz
    assert made.distances == image_distances(made.original, made.image, made.label, ["NCR", "ED", "ET"])


@pytest.mark.slow
def test_dry_run_writes_nothing(phantom, tmp_path, capsys):
    assert main([*command(phantom, tmp_path, train__slices_per_epoch="null"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for word in ("image_size: 64", "parameters", "train 4 cases", "memory", "s per step", "of training steps"):
        assert word in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bad_input_is_refused(generator, phantom, tmp_path, capsys):
    reconstructor = Reconstructor.load(generator / "best", HOW)
    data = reconstructor.card.data_section(phantom)
    examined = read_case(find_cases(data)[0], data, reconstructor.scheme)
    with pytest.raises(LabelError, match=r"outside scheme brats2021.*found 3"):
        reconstructor.reconstruct_case(examined, np.full(examined.image.shape[1:], 3, dtype=np.uint8))
    shutil.copytree(phantom, tmp_path / "phantom")
    for file in (tmp_path / "phantom").glob("*/*_t2.nii.gz"):
        file.unlink()
    with pytest.raises(DataError, match="channel t2 is missing"):
        find_cases(reconstructor.card.data_section(tmp_path / "phantom"))
    predict = ["predict", "--model", str(generator / "best"), "--input", str(phantom)]
    assert main([*predict, "--output", str(tmp_path / "masks")]) == 1
    assert "task reconstruction is not for segcct predict" in capsys.readouterr().err
    assert main(command(phantom, tmp_path, model__name="cct_unet_s")) == 1
    assert "model.name is not a generator" in capsys.readouterr().err
    assert main(command(phantom, tmp_path, model__options__style="copied")) == 1
    assert "style" in capsys.readouterr().err
    assert not (tmp_path / "m2i").exists()


@pytest.mark.parametrize("name", ["brats_m2i", "acdc_m2i", "acdc_slices_m2i"])
def test_configs_share_the_data_of_the_segmenters(name):
    ours = settings.read_yaml(ROOT / "configs" / f"{name}.yaml")
    theirs = settings.read_yaml(ROOT / "configs" / f"{name.replace('m2i', 'cct_unet')}.yaml")
    assert ours["data"] == theirs["data"]
    assert settings.load(ReconstructionConfig, ROOT / "configs" / f"{name}.yaml").train.budget is not None
