"""What a kill leaves behind at each point, and what the next command makes of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
import torch

from segcct.config import SegmentationTrainSection
from segcct.errors import RunError
from segcct.model_card import load_card, load_weights, save_model
from segcct.run_folder import RunFolder
from segcct.training.checkpoint import read_state
from segcct.training.trainer import fit
from tests.support import toy_task

TRAIN = SegmentationTrainSection(epochs=2, lr=0.01)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run")


def test_nothing_passes_through_the_temporary_folder(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a temporary file that a kill would leave behind")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    assert run.last.is_file()


def test_a_state_is_never_there_by_halves(run, monkeypatch):
    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    before, replace = run.last.read_bytes(), Path.replace

    class Killed(BaseException):
        pass

    def killed(self, target):
        if Path(target) == run.last:  # best/, which is replaced before it, is in place by then
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=3, lr=0.01), seed=0, resume=True)
    assert run.last.read_bytes() == before
    assert read_state(run.last)["epoch"] == 1


@pytest.mark.parametrize("whole", ["new and old", "old"])
def test_a_swap_of_best_that_was_cut_short_is_brought_to_its_end(tmp_path, whole):
    best, card = tmp_path / "best", toy_task.ToyTask().card({"epoch": 0})
    for number in (1.0, 2.0):
        save_model(best, {"a": torch.full((2,), number)}, card)
        shutil.copytree(best, tmp_path / str(number))
    (tmp_path / "1.0").rename(tmp_path / ".best-old")
    shutil.rmtree(best)
    if whole == "new and old":
        (tmp_path / "2.0").rename(tmp_path / ".best-new")
    else:
        shutil.rmtree(tmp_path / "2.0")
    kept = load_weights(best, load_card(best))["a"][0]
    assert kept == (2.0 if whole == "new and old" else 1.0)
    save_model(best, {"a": torch.zeros(2)}, card)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best"]


def test_leftovers_of_a_swap_are_swept_after_a_day(tmp_path):
    best, card = tmp_path / "best", toy_task.ToyTask().card({})
    save_model(best, {"a": torch.zeros(2)}, card)
    for name, age in ((".best-old", 90000), (".best-new", 0)):
        shutil.copytree(best, tmp_path / name)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    load_card(best)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".best-new", "best"]


def test_a_row_of_an_epoch_that_is_in_no_state_goes(run, capsys):
    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    run.add_metrics({"epoch": 2, "train_loss": "9"})  # killed before last.ckpt
    fit(toy_task.ToyTask(), run, TRAIN, seed=0, resume=True)
    assert [row["epoch"] for row in run.read_metrics()] == ["0", "1"]
    assert "is done after 2 epochs" in capsys.readouterr().err
    fit(toy_task.ToyTask(), run, SegmentationTrainSection(epochs=3, lr=0.01), seed=0, resume=True)
    assert [row["epoch"] for row in run.read_metrics()] == ["0", "1", "2"]


def test_pictures_of_other_weights_go_before_the_weights_do(run, monkeypatch):
    task = toy_task.ToyTask()
    run.pictures.mkdir()
    (run.pictures / "case1.png").write_bytes(b"old")
    there: list[bool] = []
    save = RunFolder.save_best
    monkeypatch.setattr(
        RunFolder, "save_best",
        lambda self, *rest: (there.append((self.pictures / "case1.png").exists()), save(self, *rest)),
    )  # fmt: skip
    fit(task, run, TRAIN, seed=0)
    assert there[0] is False


def test_the_summary_of_what_best_holds(run):
    best = fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    assert load_card(run.best).selected_on == best


@pytest.mark.parametrize("left", [["splits.json"], ["splits.json", "config.yaml"], ["config.yaml", "metrics.csv"]])
def test_a_run_that_was_killed_before_its_first_state_says_what_to_do(tmp_path, left):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).write_text("")
    with pytest.raises(RunError, match=r"No epoch of it has ended.*delete it, or choose another name"):
        RunFolder.check_free(folder)


def test_best_weights_that_are_gone_are_missed_at_resume(run):
    from segcct.training.checkpoint import check_best

    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    state = read_state(run.last)
    check_best(run, state)
    (run.best / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="best weights of the run are missing or damaged"):
        check_best(run, state)
    shutil.rmtree(run.best)
    with pytest.raises(RunError, match="best weights of the run are missing or damaged"):
        check_best(run, state)


def test_a_state_of_another_training_is_refused(run, tmp_path):
    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    with pytest.raises(RunError, match=r"last\.ckpt belongs to another run \(found another seed"):
        fit(toy_task.ToyTask(), run, TRAIN, seed=1, resume=True)


def test_a_flipped_byte_in_a_prepared_array_is_found_and_said(tmp_path, capsys):
    import numpy as np

    from segcct.preparation.cache import Cache

    cache = Cache(tmp_path)
    cache.put("key", {"image": np.arange(1000, dtype=np.float16)}, {"mean": [0.5]})
    assert cache.get("key") is not None
    file = tmp_path / "key" / "image.npy"
    content = bytearray(file.read_bytes())
    content[700] ^= 1
    file.write_bytes(content)
    assert cache.get("key") is None
    assert cache.get("key") is None  # as for the process that has waited for its turn to make it again
    assert capsys.readouterr().err.count("a prepared case is damaged and is made again (image.npy was changed)") == 1
    content[700] ^= 1
    file.write_bytes(content)
    entry = tmp_path / "key" / "entry.json"
    changed = json.loads(entry.read_text())
    changed["facts"]["mean"] = [0.6]
    entry.write_text(json.dumps(changed))
    assert cache.get("key") is None
    assert "its description was changed" in capsys.readouterr().err
    cache.put("key", {"image": np.arange(1000, dtype=np.float16)}, {"mean": [0.5]})
    assert cache.get("key") is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's writer
def test_curves_that_cannot_be_written_end_no_training(run, monkeypatch, capsys):
    from tensorboard.summary.writer.record_writer import RecordWriter

    asked = []

    def full(self, data):
        asked.append(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    shown = capsys.readouterr().err
    assert asked
    assert shown.count("curves for TensorBoard are no longer written") == 1
    assert "Traceback" not in shown
    assert len(run.read_metrics()) == 2


@pytest.mark.parametrize("full", ["last.ckpt", ".best-new", "metrics.csv"])
def test_a_full_disk_ends_a_training_in_one_line_that_names_the_run(run, monkeypatch, full):
    from segcct.errors import StorageError
    from segcct.files import atomic_file

    sync = atomic_file._sync

    def refuse(written):
        if written.name.startswith(f".{Path(full).stem.lstrip('.')}-part-"):
            raise OSError(28, "No space left on device")
        sync(written)

    monkeypatch.setattr(atomic_file, "_sync", refuse)
    with pytest.raises(StorageError, match=rf"^{run.path}: No space left on device \(found .*B free"):
        fit(toy_task.ToyTask(), run, TRAIN, seed=0)
    assert not list(run.path.glob(".*-part-*"))
