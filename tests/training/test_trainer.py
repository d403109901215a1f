"""The training loop: exact resume after kill -9, non-finite losses, early stop, budget, averaged weights, schedule."""

from __future__ import annotations

import copy
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segcct.config import SegmentationTrainSection
from segcct.errors import RunError, TrainingError
from segcct.model_card import load_card, load_weights
from segcct.run_folder import RunFolder
from segcct.training import clock as clock_module
from segcct.training import training_module, validation_callback
from segcct.training.batch_seeds import batch_seed
from segcct.training.clock import Clock
from segcct.training.network import check_batch_size, evaluated_logits
from segcct.training.optimization import averaged_copy, build_optimizer, lr_factor, recalibrate
from segcct.training.session import check_epochs
from segcct.training.trainer import fit
from tests.support import toy_task

TOY = Path(toy_task.__file__)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOY.parents[1])}


def state(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    optimizer = checkpoint["optimizer_states"][0]["state"]
    moments = {f"optimizer.{i}.{n}": v for i, slots in optimizer.items() for n, v in slots.items()}
    return checkpoint["state_dict"] | moments


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, str(TOY), str(killed), "3", "8", "fresh"]  # holds in the second epoch, of six batches
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        toy_task.main(str(whole), "3", "0", "fresh")  # while the other process starts
        assert process.stdout is not None
        assert toy_task.HELD in process.stdout  # lines, up to the end of the process
        process.send_signal(signal.SIGKILL)
    assert len(RunFolder(killed).read_metrics()) == 1
    toy_task.main(str(killed), "3", "0", "resume")
    expected, found = state(whole), state(killed)
    assert expected.keys() == found.keys()
    assert any(name.startswith("averaged.") for name in expected)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    columns = ("epoch", "lr", "train_loss", "val_dice")
    rows = [[[row[c] for c in columns] for row in RunFolder(run).read_metrics()] for run in (whole, killed)]
    assert rows[0] == rows[1]
    best = [load_weights(run / "best", load_card(run / "best")) for run in (whole, killed)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


class Counted(toy_task.ToyTask):
    """The gradient of every weight is the number of the batch, from 1 on."""

    def loss(self, network, batch, progress):
        super().loss(network, batch, progress)
        return self.batches * sum(parameter.sum() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("accumulate", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (2, [1.5, 3.5, 5.5]), (4, [2.5, 5.5]), (9, [3.5])]
)
def test_a_step_takes_the_mean_gradient_of_the_batches_it_adds(run, monkeypatch, capsys, accumulate, steps):
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            seen.append(self.param_groups[0]["params"][0].grad.flatten()[0].item())

    monkeypatch.setattr(
        training_module, "build_optimizer", lambda network, train: Watched(network.parameters(), lr=train.lr)
    )
    train = SegmentationTrainSection(epochs=1, accumulate=accumulate, clip_norm=0)
    task = Counted()
    fit(task, run, train, seed=0)
    assert seen == pytest.approx(steps)
    told = "train.accumulate is 9, but an epoch has 6 batches" in capsys.readouterr().err
    assert told == (accumulate == 9)


def test_the_loss_is_told_how_far_the_training_is(run):
    """Also where it only gives BatchNorm its statistics, after the last batch of an epoch."""
    told = []

    class Told(toy_task.ToyTask):
        def loss(self, network, batch, progress):
            told.append(progress)
            return super().loss(network, batch, progress)

    fit(Told(), run, SegmentationTrainSection(epochs=2, lr=0.01, recalibrate=1), seed=0)
    steps = [step / 12 for step in range(12)]
    assert told == pytest.approx([*steps[:6], steps[5], *steps[6:], steps[11]])


def test_weights_learn_from_a_pass_after_one_without_gradients_in_bf16():
    """Up to PyTorch 2.10 the second pass would get the weights that the first one had cast, without a gradient."""
    network, image = nn.Conv2d(1, 2, 1), torch.ones(1, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        evaluated_logits(network, image)
        loss = network(image).sum()
    loss.backward()
    assert network.weight.grad is not None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_clipped_in_either_precision(run, monkeypatch, precision):
    norms = []

    class Watched(torch.optim.AdamW):
        def step(self, closure=None):
            super().step(closure)
            norms.append(nn.utils.get_total_norm([p.grad for p in self.param_groups[0]["params"]]).item())

    monkeypatch.setattr(
        training_module, "build_optimizer", lambda network, _: Watched(network.parameters(), fused=True)
    )
    fit(Counted(), run, SegmentationTrainSection(epochs=1, clip_norm=0.5, precision=precision), seed=0)
    assert norms == pytest.approx([0.5] * 6, rel=1e-4)


def test_a_state_of_an_optimizer_that_is_not_fused_is_resumed(run, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(training_module, "build_optimizer", lambda network, _: torch.optim.AdamW(network.parameters()))
        fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=1), seed=0)
    monkeypatch.setattr(training_module, "build_optimizer", lambda network, _: torch.optim.AdamW(
        network.parameters(), fused=True))  # fmt: skip
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=2), seed=0, resume=True)
    assert len(run.read_metrics()) == 2


def test_a_loss_that_is_not_finite_stops_and_names_the_cases(run):
    with pytest.raises(TrainingError, match=r"epoch 0, batch 2 .*case8, case9, case10, case11"):
        fit(toy_task.ToyTask(poison=3), run, SegmentationTrainSection(epochs=1), seed=0)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_that_are_not_finite_are_never_the_best(run, ema):
    with pytest.raises(TrainingError, match="weights are not finite after epoch 1"):
        fit(toy_task.ToyTask(ruin=12), run, SegmentationTrainSection(epochs=3, ema=ema), seed=0)
    assert load_card(run.best).selected_on["epoch"] == 0
    assert all(value.isfinite().all() for value in load_weights(run.best, load_card(run.best)).values())


def test_a_score_that_is_not_finite_ends_the_training(run, monkeypatch):
    """No later score would be better than NaN."""
    task = toy_task.ToyTask()
    monkeypatch.setattr(task, "validate", lambda *_: {"val_dice": float("nan")})
    with pytest.raises(TrainingError, match=r"val_dice is not finite after epoch 0 \(found nan\)"):
        fit(task, run, SegmentationTrainSection(epochs=2), seed=0)
    assert not run.best.exists()


@pytest.mark.parametrize("failure", [torch.cuda.OutOfMemoryError("CUDA out of memory"), OSError(28, "No space left")])
def test_a_resume_that_the_machine_stops_does_not_blame_the_state(run, monkeypatch, failure):
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=1), seed=0)

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(training_module, "build_optimizer", fail)
    with pytest.raises(type(failure)) as caught:
        fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=2), seed=0, resume=True)
    assert caught.value is failure


def test_a_frozen_model_may_be_moved_but_not_exchanged(run):
    def task(**models: str) -> toy_task.ToyTask:
        made = toy_task.ToyTask()
        made.frozen_models = models
        return made

    def train(epochs: int, **models: str) -> None:
        fit(task(**models), run, SegmentationTrainSection(epochs=epochs, lr=0.01), seed=0, resume=epochs > 1)

    train(1, generator="a" * 64)
    train(2, generator="a" * 64)
    before = run.last.read_bytes()
    with pytest.raises(RunError, match=r"generator is another model .*found weights bbbbbbbbbbbb; expected weights aa"):
        train(3, generator="b" * 64)
    with pytest.raises(RunError, match=r"generator is another model .*found no model"):
        train(3)
    assert run.last.read_bytes() == before
    state = torch.load(run.last, weights_only=True)
    del state["training"]["frozen_models"]  # as earlier versions wrote it
    torch.save(state, run.last)
    train(3, generator="a" * 64)


def normed(side: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(side), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout())


def shown_one(network: nn.Module) -> torch.Tensor:
    return network(torch.zeros(1, 1, 8, 8))


def test_a_network_that_cannot_train_on_a_batch_of_one_is_refused_before_it_is_trained():
    network = normed(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(TrainingError, match=r"cannot be trained on a batch of one .*BatchNorm.*--train\.batch_size"):
        check_batch_size(network, 1, shown_one)
    check_batch_size(normed(2), 1, shown_one)
    check_batch_size(network, 2, shown_one)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_last_batch_of_one_is_explained(run):
    task = toy_task.ToyTask()
    task.loss = lambda network, batch, progress: normed(1)(batch["image"][:1]).sum()
    with pytest.raises(TrainingError, match=r"cannot be trained on a batch of one"):
        fit(task, run, SegmentationTrainSection(epochs=1), seed=0)


def test_the_state_holds_the_configuration_that_it_is_a_state_of(run):
    run.write_text(run.config, "train: {lr: 0.01}\n")
    task = toy_task.ToyTask()
    loss = task.loss
    task.loss = lambda *given: (run.write_text(run.config, "edited meanwhile"), loss(*given))[1]
    fit(task, run, SegmentationTrainSection(epochs=1), seed=0)
    assert torch.load(run.last, weights_only=True)["config"] == "train: {lr: 0.01}\n"
    assert run.last.stat().st_mode & 0o077 == 0  # which may name patients


def test_early_stop_and_selection(run, monkeypatch):
    task = toy_task.ToyTask()
    scores = iter([0.5, 0.7, 0.6, 0.6, 0.9])
    monkeypatch.setattr(task, "validate", lambda *_: {"val_dice": next(scores)})
    best = fit(task, run, SegmentationTrainSection(epochs=5, patience=2), seed=0)
    assert best == {"metric": "val_dice", "value": 0.7, "epoch": 1}
    assert [row["val_dice"] for row in run.read_metrics()] == ["0.50000", "0.70000", "0.60000", "0.60000"]
    assert load_card(run.best).selected_on == best


def test_an_early_stop_leaves_a_resumed_run_as_it_is(run, capsys, monkeypatch):
    train = SegmentationTrainSection(epochs=9, patience=1)
    task = toy_task.ToyTask()
    monkeypatch.setattr(task, "validate", lambda *_: {"val_dice": 0.5})
    best = fit(task, run, train, seed=0)
    before = run.last.read_bytes(), run.read_metrics()
    assert len(before[1]) == 2
    capsys.readouterr()
    assert fit(toy_task.ToyTask(), run, train, seed=0, resume=True) == best
    assert "stays as it is: it ended after 1 validation without a better score" in capsys.readouterr().err
    assert (run.last.read_bytes(), run.read_metrics()) == before


def test_saved_weights_are_the_averaged_ones(run):
    task = toy_task.ToyTask()
    fit(task, run, SegmentationTrainSection(epochs=1, ema=0.9, lr=0.1), seed=0)
    saved = load_weights(run.best, load_card(run.best))
    assert not torch.equal(saved["0.weight"], task.network.state_dict()["0.weight"])


def test_without_averaging_the_network_itself_is_saved(run):
    task = toy_task.ToyTask()
    fit(task, run, SegmentationTrainSection(epochs=1, ema=0.0), seed=0)
    saved = load_weights(run.best, load_card(run.best))
    assert torch.equal(saved["0.weight"], task.network.state_dict()["0.weight"])


class Timed(toy_task.ToyTask):
    """A batch takes 10 s and a validation 15 s, or what `validations_s` says, by a clock of its own."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.now = 0.0
        self.validations_s = itertools.repeat(15.0)
        for module in (validation_callback, clock_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def loss(self, network, batch, progress):
        self.now += 10.0
        return super().loss(network, batch, progress)

    def validate(self, network, device, rank, world):
        self.now += next(self.validations_s)
        return super().validate(network, device, rank, world)


def ends(run: RunFolder) -> list[float]:
    return [float(row["elapsed_s"]) for row in run.read_metrics()]


def test_a_budget_ends_the_training_with_a_finished_schedule(run, monkeypatch):
    fit(Timed(monkeypatch), run, SegmentationTrainSection(epochs=1, budget=600.0, lr=0.01), seed=0)
    assert 590 <= ends(run)[-1] <= 600
    assert float(run.read_metrics()[-1]["lr"]) < 0.01 * 0.02


class Interrupted(toy_task.ToyTask):
    after = 8

    def loss(self, network, batch, progress):
        if self.batches == self.after:
            raise KeyboardInterrupt
        return super().loss(network, batch, progress)


def test_ctrl_c_leaves_a_run_to_be_resumed(run):
    handler = signal.getsignal(signal.SIGINT)
    train = SegmentationTrainSection(epochs=3, lr=0.01)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(), run, train, seed=0)
    assert signal.getsignal(signal.SIGINT) is handler
    fit(toy_task.ToyTask(), run, train, seed=0, resume=True)
    assert [row["epoch"] for row in run.read_metrics()] == ["0", "1", "2"]


def test_a_finished_run_says_so_and_cannot_get_shorter(run, capsys):
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=2, lr=0.01), seed=0)
    before = run.last.read_bytes()
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=2, lr=0.01), seed=0, resume=True)
    assert "is done after 2 epochs" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"trained 2 epochs already .*epochs 1; expected at least 2"):
        check_epochs(run, SegmentationTrainSection(epochs=1, lr=0.01))
    assert run.last.read_bytes() == before


def test_a_run_without_a_validation_cannot_end(run):
    task = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        fit(task, run, SegmentationTrainSection(epochs=3, validate_every=3), seed=0)
    with pytest.raises(TrainingError, match=r"before its first validation\. Give it a longer --train\.epochs"):
        fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=1, validate_every=3), seed=0, resume=True)


def test_epochs_without_a_validation_keep_the_scores_of_the_others(run):
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=3, lr=0.01, validate_every=2), seed=0)
    scores = [row["val_dice"] for row in run.read_metrics()]
    assert [bool(score) for score in scores] == [False, True, True]


@pytest.mark.parametrize("validations_s", [(15.0,), (60.0, 1.0)], ids=["alike", "the last one short"])
def test_a_used_up_budget_leaves_a_resumed_run_as_it_is(run, monkeypatch, capsys, validations_s):
    train = SegmentationTrainSection(epochs=1, budget=230.0, lr=0.01)
    task = Timed(monkeypatch)
    task.validations_s = itertools.cycle(validations_s)
    best = fit(task, run, train, seed=0)
    before = run.last.read_bytes(), run.read_metrics()
    assert fit(Timed(monkeypatch), run, train, seed=0, resume=True) == best
    assert "the budget of 4 min is used up; extend it with --train.budget" in capsys.readouterr().err
    assert (run.last.read_bytes(), run.read_metrics()) == before
    fit(Timed(monkeypatch), run, SegmentationTrainSection(epochs=1, budget=400.0, lr=0.01), seed=0, resume=True)
    assert len(run.read_metrics()) > len(before[1])


def test_validations_keep_to_their_fraction_of_the_time(run, monkeypatch):
    """The first at once; the second, which takes them to 30 s, not before 300 s; and the last."""
    train = SegmentationTrainSection(epochs=6, lr=0.01, validation_time=0.1)
    fit(Timed(monkeypatch), run, train, seed=0)
    assert [bool(row["val_dice"]) for row in run.read_metrics()] == [True, False, False, False, True, True]
    assert ends(run) == [75.0, 135.0, 195.0, 255.0, 330.0, 405.0]
    assert torch.load(run.last, weights_only=True)["clock"]["validations"] == 45.0
    longer = train.model_copy(update={"epochs": 8})
    fit(Timed(monkeypatch), run, longer, seed=0, resume=True)  # at 465 s they would take 60
    assert [bool(row["val_dice"]) for row in run.read_metrics()[6:]] == [False, True]


def test_recalibrated_statistics_are_the_plain_means_over_the_latest_batches():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    batches = torch.randn(4, 6, 1, 8, 8) * 3 + 1
    weights = copy.deepcopy(dict(network.named_parameters()))
    recalibrate(network, [lambda network, batch=batch: network(batch) for batch in batches])
    maps = [network[0](batch).detach() for batch in batches]
    torch.testing.assert_close(network[1].running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0))
    assert network[1].momentum == 0.1
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_averaged_weights_are_saved_with_their_own_statistics_also_after_a_resume(run, tmp_path):
    train = SegmentationTrainSection(epochs=3, lr=0.01, ema=0.9, recalibrate=2)
    fit(toy_task.ToyTask(), run, train, seed=0)
    saved = load_weights(run.best, load_card(run.best))
    assert int(saved["1.num_batches_tracked"]) == 2
    other = RunFolder.create(tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(), other, train, seed=0)
    fit(toy_task.ToyTask(), other, train, seed=0, resume=True)
    again = load_weights(other.best, load_card(other.best))
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    assert [row["val_dice"] for row in run.read_metrics()] == [row["val_dice"] for row in other.read_metrics()]


def test_a_budget_that_ends_early_in_an_epoch_takes_statistics_from_the_one_before_too(run, monkeypatch):
    fit(Timed(monkeypatch), run, SegmentationTrainSection(budget=200.0, lr=0.01, ema=0.9, recalibrate=4), seed=0)
    assert ends(run) == [115.0, 200.0]  # 60 s and 30 s of batches, and twice 55 s for a validation
    state = torch.load(run.last, weights_only=True)["state_dict"]
    assert int(state["averaged.module.1.num_batches_tracked"]) == 4


def test_one_slow_validation_does_not_cut_the_budget_short(run, monkeypatch):
    task = Timed(monkeypatch)
    task.validations_s = itertools.chain([100.0], itertools.repeat(0.0))
    fit(task, run, SegmentationTrainSection(epochs=1, budget=400.0, lr=0.01), seed=0)
    assert ends(run) == [160.0, 220.0, 280.0, 340.0, 400.0]


def test_no_epoch_begins_in_a_rest_too_short_for_its_validation(run, monkeypatch):
    fit(Timed(monkeypatch), run, SegmentationTrainSection(epochs=1, budget=88.0, lr=0.01), seed=0)
    assert ends(run) == [75.0]  # 13 s are left, a validation takes 15


def test_validation_time_belongs_to_the_budget(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(SegmentationTrainSection(budget=60.0))
    clock.validated(10.0)
    now[0] += 25.0
    assert clock.progress(0, 0, 5) == pytest.approx(0.5)
    assert not clock.over()
    now[0] += 25.0
    assert clock.progress(0, 0, 5) == 1.0
    assert clock.over()


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_schedule_rises_then_falls_to_zero(schedule):
    factors = [lr_factor(step / 100, schedule=schedule, warmup=0.1) for step in range(101)]
    assert factors[0] == 1e-3  # the first step learns too
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("schedule", "expected"), [("poly", 0.75**0.9), ("cosine", (2 + 2**0.5) / 4)])
def test_the_fall_is_the_published_one(schedule, expected):
    assert lr_factor(0.25, schedule=schedule, warmup=0.0) == pytest.approx(expected)


def test_weight_decay_spares_vectors():
    groups = build_optimizer(
        nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), SegmentationTrainSection(weight_decay=0.1)
    ).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (3, 0.0)]


@pytest.mark.parametrize(("decay", "kept"), [(0.5, 2 / 11), (0.1, 0.1)])
def test_average_by_hand(decay, kept):
    """The second update keeps min(decay, 2 / 11)."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
    copy = averaged_copy(network, decay)
    copy.update_parameters(network)  # the first update copies
    with torch.no_grad():
        network.weight.fill_(1.0)
    copy.update_parameters(network)
    assert copy.module.weight.item() == pytest.approx(1 - kept)


def test_whole_numbers_are_copied_and_not_averaged():
    layer = nn.BatchNorm1d(1)
    averaged = averaged_copy(layer, 0.5)
    for count in (3, 4):
        layer.num_batches_tracked.fill_(count)
        averaged.update_parameters(layer)
        assert averaged.module.num_batches_tracked.item() == count


def test_batch_seeds_differ_in_every_part():
    seeds = {batch_seed(s, e, b, r) for s in range(3) for e in range(3) for b in range(3) for r in range(2)}
    assert len(seeds) == 54


def test_an_existing_run_is_refused_and_untouched(tmp_path):
    run = RunFolder.create(tmp_path / "my run")
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already and nothing is overwritten\. Choose another name with"):
        RunFolder.create(run.path)
    run.write_text(run.config, "x: 1")
    with pytest.raises(RunError, match=r"unless it still trains, delete it, or choose another name with --run\.name"):
        RunFolder.create(run.path)
    run.write_text(run.last, "state")
    with pytest.raises(RunError, match=r"exists already.*--resume '.*my run', or choose another name with --run\.name"):
        RunFolder.create(run.path)
    assert run.config.read_text(encoding="utf-8") == "x: 1"


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_metrics_rows_of_a_repeated_epoch_are_replaced(run):
    for epoch, loss in [(0, 3), (1, 2), (2, 1), (1, 9)]:
        run.add_metrics({"epoch": epoch, "train_loss": loss})
    assert [(row["epoch"], row["train_loss"]) for row in run.read_metrics()] == [("0", "3"), ("1", "9")]
