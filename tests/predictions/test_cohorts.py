"""Many cases: the work on one of them in other processes, and what a folder is after anything."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segcct
from segcct.case_runner import Calls, CaseJob, CaseOutcome, Failed, Skipped, run_cases, values
from segcct.cli import main
from segcct.datasets.case import Case
from segcct.errors import DataError, RunError, StorageError
from segcct.files.json_file import MOST_BYTES
from segcct.files.lock import exclusive
from segcct.files.pseudonyms import pseudonym
from segcct.files.table_file import read_rows_of, write_records
from segcct.images.content_digest import content_digest
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture, SchemeCard, save_model
from segcct.models.zoo import create_model
from segcct.predictions import folder_prediction as folder
from segcct.predictions import outcome_table, predictions_index, tracked_case
from segcct.predictions.case_journal import Journal, new_journal
from segcct.predictions.case_tables import CaseTable
from segcct.predictions.finished_cases import finished_cases
from segcct.predictions.folder_prediction import CaseLoop, PredictCase, predict_folder
from segcct.predictions.folder_status import folder_status
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.mask_options import MaskOptions
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.outcome_table import outcomes_after
from segcct.predictions.prediction_request import resolve
from segcct.predictions.predictions_index import Index
from segcct.predictions.tracked_case import FolderCase, PredictedCase, TrackedWork
from tests.support.toy_pair import card, data_section, predictor

HOW = InferenceSettings(batch_size=4, precision="fp32", device="cpu")
CASES = [f"case_{number}" for number in range(7)]


def png(seed: int) -> bytes:
    """An image of 24 by 32 pixels."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 100, (24, 32), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


ANOTHER = png(99)


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
    """A folder of them."""
    root = tmp_path / "images"
    root.mkdir()
    for seed, name in enumerate(CASES):
        (root / f"{name}.png").write_bytes(png(seed))
    return root


def masks_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}


def test_the_work_on_a_case_travels_as_paths_and_does_the_same_elsewhere(best, images, tmp_path):
    model = Predictor.load(best, HOW)
    request = resolve(model.card, images)
    predict_folder(model, request, tmp_path / "here")
    work = PredictCase(model, replace(request, cases=()), tmp_path / "there", MaskOptions(), "image")
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


def predict(best: Path, images: Path, output: Path, **options: object) -> Predictions:
    model = Predictor.load(best, HOW)
    return predict_folder(model, resolve(model.card, images), output, **options)  # type: ignore[arg-type]


def entries(folder: Path) -> dict[str, dict]:
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))["cases"]


def test_a_row_per_case_says_what_became_of_it(best, images, tmp_path):
    (images / "case_3.png").write_bytes(b"damaged")
    assert "1 of 7 cases failed" in predict(best, images, tmp_path / "p").problem
    rows = entries(tmp_path / "p")
    failed = rows.pop("case_3")
    assert (failed["status"], failed["digest"]) == ("failed", None)
    assert "case_3.png: cannot be read" in failed["reason"]
    assert 0 <= failed["seconds"] < 60
    assert failed["peak_memory_mb"] > 10
    assert {row["status"] for row in rows.values()} == {"done"}
    assert all(0 < row["seconds"] < 60 and row["peak_memory_mb"] > 10 for row in rows.values())
    assert len({row["input"] for row in rows.values()}) == 6
    assert not list((tmp_path / "p").glob(".*"))


def test_the_index_of_a_million_cases_can_be_read_again(best, images, tmp_path):
    predict(best, images, tmp_path / "p")
    rows = json.dumps({"cases": entries(tmp_path / "p")}, indent=2)
    assert 1e6 * len(rows) / len(CASES) < MOST_BYTES


CHANGES = {
    "nothing": (lambda images, masks: None, set()),
    "a mask is cut off": (lambda images, masks: masks["case_1"].write_bytes(b"\x89PNG"), {"case_1"}),
    "a mask is gone": (lambda images, masks: masks["case_2"].unlink(), {"case_2"}),
    "an input changed": (lambda images, masks: (images / "case_4.png").write_bytes(ANOTHER), {"case_4"}),
    "an input is damaged": (lambda images, masks: (images / "case_5.png").write_bytes(b"x"), {"case_5"}),
    "a case is new": (lambda images, masks: (images / "new.png").write_bytes(ANOTHER), {"new"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("anonymize", [False, True])
def test_what_agrees_is_kept_and_everything_else_done_again(best, images, tmp_path, change, anonymize):
    """After it, the folder is as one that was predicted at once."""
    output, (act, again) = tmp_path / "p", CHANGES[change]
    predict(best, images, output, options=MaskOptions(anonymize=anonymize))
    key = json.loads((output / "sources.json").read_text(encoding="utf-8"))["key"] if anonymize else None
    masks = {name: output / f"{pseudonym(name, key) if key else name}.png" for name in (*CASES, "new")}
    act(images, masks)
    before = {name: file.stat().st_ino for name, file in masks.items() if file.exists()}
    continued = predict(best, images, output, options=MaskOptions(anonymize=anonymize), existing="continue")
    made = {outcome.name for outcome in continued.outcomes if isinstance(outcome, Failed) or outcome.value.is_new}
    assert made == {masks[name].stem for name in again}
    kept = {name for name, file in masks.items() if file.exists() and before.get(name) == file.stat().st_ino}
    assert kept >= set(CASES) - again
    predict(best, images, tmp_path / "whole")
    assert masks_in(output) == dict(
        sorted((masks[file[:-4]].name, content) for file, content in masks_in(tmp_path / "whole").items())
    )
    status = {masks[name].stem: row["status"] for name, row in entries(tmp_path / "whole").items()}
    assert {name: row["status"] for name, row in entries(output).items()} == status


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_that_was_wrong_leaves_no_mask_of_a_changed_scan(best, images, tmp_path, hours):
    predict(best, images, tmp_path / "p")
    moment = time.time() + 3600 * hours
    for mask in (tmp_path / "p").glob("*.png"):
        os.utime(mask, (moment, moment))
    (images / "case_5.png").write_bytes(b"damaged")
    assert "1 of 7 cases failed" in predict(best, images, tmp_path / "p", existing="continue").problem
    assert masks_in(tmp_path / "p").keys() == {f"{name}.png" for name in CASES} - {"case_5.png"}


@pytest.fixture
def stale(tmp_path) -> Iterator[tuple[Journal, FolderCase, Path]]:
    """A call that continues, and a case with a mask of what it was before."""
    scan, mask = tmp_path / "a_scan.png", tmp_path / "a.png"
    scan.write_bytes(ANOTHER)
    mask.write_bytes(b"old")
    os.utime(mask, (1e9, 1e9))
    with new_journal(tmp_path) as journal:
        journal.claim(["a"])
        earlier = {"mask": mask.name, "input": "", "digest": "", "files": []}
        yield journal, FolderCase.of(tmp_path, "a", Case("a", "a", {"gray": (scan,)}), earlier), mask


def attempt_of(
    journal: Journal, job: FolderCase, mask: Path, *, fails: bool = False, meanwhile: Callable[[], object] = int
):
    """One attempt at the case; `meanwhile` happens while it computes."""

    def work(named: tuple[str, Case]) -> PredictedCase:
        meanwhile()
        if fails:
            raise DataError("cannot be read", file=job.case.files()[0])
        new = mask.with_name("new")
        new.write_bytes(b"new")
        return PredictedCase(new.replace(mask), content_digest([mask]), False)

    return TrackedWork(work, journal)(job)


def test_a_worker_that_sees_another_folder_writes_nothing(stale, tmp_path):
    """Such as the local one of another machine, under the same name."""
    journal, job, mask = stale
    lock = journal.folder / f".cases-{journal.call}.lock"
    lock.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"does not see the output folder .*all machines share"):
        attempt_of(journal, job, mask)
    assert mask.read_bytes() == b"old"
    (tmp_path / "elsewhere").rename(lock)


def test_rows_of_another_users_process_are_passed_over(stale, monkeypatch):
    journal, *_ = stale
    journal.add("a", {"status": "done"})

    def refused(file: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert journal.rows() == {}


def test_a_new_mask_stays_where_its_time_and_size_are_those_of_the_old_one(stale):
    """As on a file system that counts whole seconds."""
    journal, job, mask = stale

    def work(named: tuple[str, Case]) -> PredictedCase:
        mask.write_bytes(b"new")
        os.utime(mask, (1e9, 1e9))
        return PredictedCase(mask, content_digest([mask]), False)

    TrackedWork(work, journal)(job)
    assert mask.read_bytes() == b"new"


def test_a_case_that_fails_keeps_no_mask_of_before(stale):
    with pytest.raises(DataError):
        attempt_of(*stale, fails=True)
    assert not stale[2].exists()


@pytest.mark.parametrize("step", ["local_case", "input_digest"])
@pytest.mark.parametrize("anonymize", [False, True])
def test_a_finished_case_whose_input_cannot_be_read_now_stays_finished(
    best, images, tmp_path, monkeypatch, step, anonymize
):
    """Such as one on a share that is not reachable for a while."""
    output, table, options = tmp_path / "p", CaseTable("volumes.csv", row_of_case), MaskOptions(anonymize=anonymize)
    predict(best, images, output, options=options, tables=[table])
    before = masks_in(output), entries(output), (output / "volumes.csv").read_bytes()
    usual = getattr(tracked_case, step)

    def unreachable(case: Case, *folder: Path) -> object:
        if case.id == "case_3":
            raise DataError("cannot be fetched")
        return usual(case, *folder)

    with monkeypatch.context() as patched:
        patched.setattr(tracked_case, step, unreachable)
        continued = predict(best, images, output, options=options, tables=[table], existing="continue")
    assert continued.problem.startswith("1 of 7 cases failed and got no new mask")
    assert (masks_in(output), entries(output), (output / "volumes.csv").read_bytes()) == before
    again = predict(best, images, output, options=options, tables=[table], existing="continue")
    assert [case.is_new for case in values(again.outcomes)] == [False] * 7
    (images / "case_3.png").write_bytes(b"damaged")
    assert predict(best, images, output, options=options, tables=[table], existing="continue").problem
    assert len(masks_in(output)) == 6  # of changed input


@pytest.mark.parametrize("fails", [False, True])
def test_an_attempt_does_not_remove_the_mask_of_another(stale, fails):
    """Of the same call: a speculative copy of its task, or one that is repeated though the first still runs."""
    attempt_of(*stale)
    seen: list[bytes] = []
    with pytest.raises(DataError) if fails else nullcontext():
        attempt_of(*stale, fails=fails, meanwhile=lambda: seen.append(stale[2].read_bytes()))
    assert seen == [b"new"]  # a kill at this moment would lose nothing
    assert stale[2].read_bytes() == b"new"


@pytest.mark.parametrize("digest", ["", None])
def test_the_mask_of_a_changed_scan_does_not_outlive_a_process_that_dies(stale, digest):
    """One that is not known to be of another scan stays until the new one takes its place."""
    journal, job, mask = stale
    seen: list[bool] = []
    job = job._replace(earlier={**job.earlier, "digest": digest})
    attempt_of(journal, job, mask, meanwhile=lambda: seen.append(mask.exists()))
    assert seen == [digest is None]
    assert mask.read_bytes() == b"new"


def test_an_attempt_that_is_overtaken_and_fails_leaves_the_mask(stale):
    with pytest.raises(DataError):
        attempt_of(*stale, fails=True, meanwhile=lambda: attempt_of(*stale))
    assert stale[2].read_bytes() == b"new"


def test_other_settings_and_other_weights_are_no_finished_cases(best, images, tmp_path, capsys):
    predict(best, images, tmp_path / "p")
    largest = predict(best, images, tmp_path / "p", options=MaskOptions(keep_largest=True), existing="continue")
    assert all(case.is_new for case in values(largest.outcomes))
    assert "made again because of other settings (keep_largest): 7 masks" in capsys.readouterr().err
    model = Predictor.load(best, HOW)
    other = Predictor(model.network, model.card.model_copy(update={"weights_sha256": "b"}), HOW)
    with pytest.raises(RunError, match="holds another model's predictions"):
        predict_folder(other, resolve(other.card, images), tmp_path / "p", existing="continue")


def test_the_batch_size_is_a_setting_where_masks_depend_on_it(best):
    of = Predictor.card_of(best)

    def settings(**changes):
        return folder.settings_of(of, replace(HOW, **changes), MaskOptions())

    assert settings(batch_size=8) == settings()
    for adapt in ("statistics", "model"):
        assert settings(batch_size=8, adapt=adapt) != settings(adapt=adapt)


def test_what_model_json_says_of_scans_networks_and_classes_is_a_setting(best, monkeypatch):
    of = Predictor.card_of(best)

    def digest(adapt: str = "none", data: dict[str, object] | None = None, **changes: object) -> str:
        edited = of.model_copy(update={"data": {**of.data, **(data or {})}, **changes})
        return str(folder.settings_of(edited, replace(HOW, adapt=adapt), MaskOptions())["preparation"])

    usual = digest()
    assert digest(data={"channels": {"gray": "elsewhere/{id}.png"}, "label": None}) == usual
    assert digest(data={"intensity": {**of.data["intensity"], "high": 50}}) != usual
    assert digest(scheme=SchemeCard(name="custom", classes={"low": 1, "high": 2})) != usual
    assert digest(architecture=of.architecture.model_copy(update={"options": {"skip": True}})) != usual
    assert digest(intensity_quantiles=[[0.0, 1.0]]) == usual
    assert digest("image", intensity_quantiles=[[0.0, 1.0]]) != digest("image")
    monkeypatch.setattr(folder, "PREPARATION_VERSION", -1)
    assert digest() != usual


def test_another_calibration_keeps_each_mask_until_it_is_replaced(best, images, tmp_path, monkeypatch):
    """Also where a call ends before its first case, and the next one continues."""
    output = tmp_path / "p"
    first, second = ([CaseTable("quality.csv", row_of_case, calibration=name)] for name in ("a", "b"))
    predict(best, images, output, tables=first)
    with monkeypatch.context() as patched:
        patched.setattr("segcct.predictions.mask_folder.run_cases", lambda *_, **__: iter(()))
        predict(best, images, output, tables=second, existing="continue")
    save, seen = folder.save_mask, []

    def watched(*given, **how):
        seen.append(sum((output / f"{name}.png").exists() for name in CASES))
        return save(*given, **how)

    monkeypatch.setattr(folder, "save_mask", watched)
    (images / "case_3.png").write_bytes(b"damaged")
    continued = predict(best, images, output, tables=second, existing="continue")
    assert len(seen) == 6
    assert set(seen) <= {6, 7}
    assert all(case.is_new for case in values(continued.outcomes))
    assert not (output / "case_3.png").exists()  # it failed
    assert {row["calibration"] for row in entries(output).values()} == {"b"}
    predict(best, images, output, options=MaskOptions(keep_largest=True), tables=second, existing="continue")
    assert seen[6] == 0


def test_masks_that_nothing_lists_are_not_touched(best, images, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "case_1.png").write_bytes(b"drawn by hand")
    with pytest.raises(RunError, match=r"1 of the masks exist already, and predictions\.json does not list them"):
        predict(best, images, tmp_path / "p", existing="continue")
    assert (tmp_path / "p" / "case_1.png").read_bytes() == b"drawn by hand"


@pytest.mark.parametrize("anonymize", [False, True])
def test_what_a_killed_call_wrote_in_its_journal_counts(best, images, tmp_path, monkeypatch, anonymize):
    """The call ends without a last word after its third mask, as a SIGKILL has it."""

    class Killed(BaseException):
        pass

    save, count = folder.save_mask, itertools.count(1)

    def killed(*arguments, **options):
        file = save(*arguments, **options)
        if next(count) >= 4:  # after the mask, before its row
            raise Killed
        return file

    table, options = CaseTable("volumes.csv", row_of_case), MaskOptions(anonymize=anonymize)
    with monkeypatch.context() as patched:
        patched.setattr(folder, "save_mask", killed)
        patched.setattr(Index, "write", dies_at_last(Index.write))
        patched.setattr(Journal, "remove", lambda _: None)
        with pytest.raises(Killed):
            predict(best, images, tmp_path / "p", options=options, tables=[table])
    assert not any(row.get("digest") for row in entries(tmp_path / "p").values())
    continued = predict(best, images, tmp_path / "p", options=options, tables=[table], existing="continue")
    assert sum(case.is_new for case in values(continued.outcomes)) == 4
    predict(best, images, tmp_path / "whole")
    assert sorted(masks_in(tmp_path / "p").values()) == sorted(masks_in(tmp_path / "whole").values())
    rows = read_rows_of(tmp_path / "p" / "volumes.csv", ["case", "mask"])
    assert {row["case"]: row["mask"] for row in rows} == {
        name: entry["digest"] for name, entry in entries(tmp_path / "p").items()
    }
    assert not list((tmp_path / "p").glob(".*"))


def row_of_case(segmented) -> list[dict[str, str]]:
    return [{"voxels": str(int((segmented.full > 0).sum())), "mask": ""}]


def dies_at_last(write):
    calls = itertools.count(1)
    return lambda index: write(index) if next(calls) == 1 else None


def test_a_case_that_a_canceled_task_has_finished_is_done(best, images, tmp_path):
    def canceled(calls: Calls, workers: int) -> Iterator[CaseOutcome[PredictedCase]]:
        for number, (job, call) in enumerate(calls):
            outcome = call() if number < 6 else None
            yield outcome if outcome and number < 3 else Skipped(job.name, "more than 0 cases failed")

    predictions = predict(best, images, tmp_path / "p", loop=CaseLoop(canceled))
    words = "1 of 7 cases failed and got no new mask:\n  - more than 0 cases failed: 1 more case skipped"
    assert predictions.problem == words
    assert predictions.masks == sorted((tmp_path / "p").glob("*.png"))
    assert sum(row.get("status") == "done" for row in entries(tmp_path / "p").values()) == len(predictions.masks) == 6


@pytest.mark.parametrize("existing", ["refuse", "continue"])
def test_a_case_that_another_attempt_has_finished_is_not_done_again(best, images, tmp_path, monkeypatch, existing):
    """A task of several cases whose process dies is repeated as a whole; a mask that was changed since is made anew."""
    table, saved = CaseTable("volumes.csv", row_of_case), []
    if existing == "continue":
        predict(best, images, tmp_path / "p", tables=[table])
        for name in CASES:
            (images / f"{name}.png").write_bytes(ANOTHER)

    def repeated(calls: Calls, workers: int) -> Iterator[CaseOutcome[PredictedCase]]:
        calls = list(calls)
        for _, call in calls[:5]:
            call()
        (tmp_path / "p" / "case_0.png").write_bytes(b"damaged")
        yield from (call() for _, call in calls)

    save = folder.save_mask
    monkeypatch.setattr(folder, "save_mask", lambda *all_, **more: saved.append(all_[2]) or save(*all_, **more))
    predictions = predict(best, images, tmp_path / "p", tables=[table], loop=CaseLoop(repeated), existing=existing)
    assert saved == [*CASES[:5], "case_0", *CASES[5:]]
    assert all(case.is_new for case in values(predictions.outcomes))
    rows = read_rows_of(tmp_path / "p" / "volumes.csv", ["case", "mask"])
    assert {row["case"]: row["mask"] for row in rows} == {
        name: content_digest([tmp_path / "p" / f"{name}.png"]) for name in CASES
    }
    predict(best, images, tmp_path / "whole")
    assert masks_in(tmp_path / "p") == masks_in(tmp_path / "whole")


@pytest.mark.parametrize("installed", [True, False])
def test_outcomes_of_an_earlier_call_do_not_stay_behind(tmp_path, monkeypatch, installed):
    """They are written anew by whatever call changes the folder, also one that fails; without pyarrow they go."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'segcct[spark]'")
    index, table = tmp_path / "predictions.json", tmp_path / "outcomes.parquet"
    if not installed:
        monkeypatch.setattr(outcome_table, "find_spec", lambda _: None)
    with outcomes_after(tmp_path, wanted=False):
        index.write_text(json.dumps({"cases": {"a": {"status": "failed", "reason": "cannot be read"}}}))
    assert not table.exists()
    with pytest.raises(RunError, match="stopped"), outcomes_after(tmp_path / "predictions.json", wanted=False):
        raise RunError("stopped")  # the folder is a file
    with pytest.raises(RunError, match="stopped"), outcomes_after(tmp_path, wanted=True):
        raise RunError("stopped")
    assert not table.exists()  # of a call that was refused
    with outcomes_after(tmp_path, wanted=True):
        pass
    with suppress(RunError), outcomes_after(tmp_path, wanted=False):
        index.write_text(json.dumps({"cases": {"a": {"status": "done"}, "b": {"status": "failed"}}}))
        raise RunError("stopped")
    assert table.exists() == installed
    if installed:
        assert [(row["case"], row["status"]) for row in parquet.read_table(table).to_pylist()] == [
            ("a", "done"),
            ("b", "failed"),
        ]


def test_outcomes_follow_a_prediction_from_python(best, images, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'segcct[spark]'")
    segcct.predict(best, images, tmp_path / "p", settings=HOW)
    table = outcome_table.write_outcomes(tmp_path / "p")
    (images / "case_3.png").write_bytes(b"damaged")
    segcct.predict(best, images, tmp_path / "p", existing="replace", settings=HOW)
    failed = [row["case"] for row in parquet.read_table(table).to_pylist() if row["status"] == "failed"]
    assert failed == ["case_3"]


def test_a_torn_line_of_a_journal_is_not_read(tmp_path):
    with new_journal(tmp_path) as journal:
        journal.add("a", {"status": "done"})
        (file,) = tmp_path.glob("*.jsonl")
        file.write_bytes(file.read_bytes() + b'\n{"case": "b", "sta')
        journal.add("c", {"status": "failed"})
        assert journal.rows() == {"a": {"status": "done"}, "c": {"status": "failed"}}
        assert "this process" in str(journal.holder())
    assert journal.holder() is None


def test_shards_side_by_side_give_what_one_process_gives(best, images, tmp_path):
    model = Predictor.load(best, HOW)
    request = resolve(model.card, images)
    shards = [request.shard(number, 3) for number in (1, 2, 3)]
    assert [[case.id for case in shard.cases] for shard in shards] == [
        ["case_0", "case_3", "case_6"],
        ["case_1", "case_4"],
        ["case_2", "case_5"],
    ]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda shard: predict_folder(model, shard, tmp_path / "p"), shards))
    predict_folder(model, request, tmp_path / "whole")
    assert masks_in(tmp_path / "p") == masks_in(tmp_path / "whole")
    assert {name: row["digest"] for name, row in entries(tmp_path / "p").items()} == {
        name: row["digest"] for name, row in entries(tmp_path / "whole").items()
    }
    with pytest.raises(RunError, match=r"more shards than cases .*8 shards of 7 cases"):
        request.shard(1, 8)


def test_a_cohort_is_predicted_in_parts_from_python_as_by_the_command(best, images, tmp_path):
    words = ("--batch-size", "4", "--precision", "fp32", "--device", "cpu")
    assert main(["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "c"), *words]) == 0
    part = segcct.predict(best, images, tmp_path / "p", settings=HOW, cohort=segcct.CohortOptions(shard=(1, 2)))
    assert [mask.stem for mask in part.masks] == ["case_0", "case_2", "case_4", "case_6"]
    times = {mask: mask.stat().st_mtime_ns for mask in part.masks}
    with pytest.raises(RunError, match="4 of the masks exist already"):
        segcct.predict(best, images, tmp_path / "p", settings=HOW)
    whole = segcct.predict(best, images, tmp_path / "p", settings=HOW, existing="continue")
    assert len(whole.masks) == 7
    assert (whole.problem, whole.flagged) == ("", [])
    assert {mask: mask.stat().st_mtime_ns for mask in times} == times  # not predicted twice
    assert masks_in(tmp_path / "p") == masks_in(tmp_path / "c")


def test_what_is_written_of_a_case_is_chosen_from_python_as_by_the_command(best, images, tmp_path):
    words = ("--keep-largest", "--anonymize", "--batch-size", "4", "--precision", "fp32", "--device", "cpu")
    assert main(["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "c"), *words]) == 0
    options = MaskOptions(keep_largest=True, anonymize=True)
    predicted = segcct.predict(best, images, tmp_path / "p", settings=HOW, masks=options)
    assert not {mask.stem for mask in predicted.masks} & set(CASES)
    assert sorted(masks_in(tmp_path / "p").values()) == sorted(masks_in(tmp_path / "c").values())
    assert all(entry["keep_largest"] for entry in entries(tmp_path / "p").values())


def test_two_calls_for_one_case_are_one_and_a_refusal(best, images, tmp_path):
    (tmp_path / "p").mkdir()
    with new_journal(tmp_path / "p") as journal:
        journal.claim(["case_3", "case_4", "other"])
        for existing in ("refuse", "continue", "replace"):
            with pytest.raises(RunError, match=r"another process is predicting 2 of these cases .*--shard"):
                predict(best, images, tmp_path / "p", existing=existing)
    assert predict(best, images, tmp_path / "p").problem == ""


def test_the_status_names_what_failed_and_what_is_missing(best, images, tmp_path, capsys):
    command = ["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "p")]
    assert main([*command, "--status"]) == 0
    assert "0 of 7 cases finished, 0 failed, 7 missing" in capsys.readouterr().out
    assert not (tmp_path / "p").exists()
    (images / "case_3.png").write_bytes(b"damaged")
    assert main([*command, "--shard", "1/2"]) == 0
    (tmp_path / "p" / "case_0.png").unlink()
    capsys.readouterr()
    assert main([*command, "--status"]) == 0
    said = capsys.readouterr().out
    assert "3 of 7 cases finished, 0 failed, 4 missing" in said
    assert main([*command, "--continue"]) == 1
    capsys.readouterr()
    assert main([*command, "--status"]) == 0
    said = capsys.readouterr().out
    assert "6 of 7 cases finished, 1 failed, 0 missing\nfailed:\n  - case_3: " in said
    assert main([*command, "--status", "--keep-largest"]) == 0
    assert "0 of 7 cases finished, 1 failed, 6 missing" in capsys.readouterr().out


def test_the_status_counts_what_a_running_call_has_in_its_journal(best, images, tmp_path, capsys):
    command = ["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "p")]
    predict(best, images, tmp_path / "p", tables=[CaseTable("volumes.csv", row_of_case)])
    index = json.loads((tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"))
    row = {**index["cases"]["case_2"], "tables": {"volumes.csv": [{"mask": index["cases"]["case_2"]["digest"]}]}}
    for name in ("case_2", "case_3"):
        del index["cases"][name]["digest"]
    (tmp_path / "p" / "predictions.json").write_text(json.dumps(index))
    rows = read_rows_of(tmp_path / "p" / "volumes.csv", ["case"])
    write_records(tmp_path / "p" / "volumes.csv", list(rows[0]), [row for row in rows if row["case"] != "case_2"])
    with new_journal(tmp_path / "p") as journal:
        journal.claim(["case_2", "case_3"])
        journal.add("case_2", row)
        assert main([*command, "--status"]) == 0
    said = capsys.readouterr().out
    assert "6 of 7 cases finished, 0 failed, 1 missing" in said
    assert f"this process, {os.getpid()} predicts 1 case of them" in said


def test_the_status_loses_no_case_to_a_call_that_ends_meanwhile(best, images, tmp_path, monkeypatch):
    """Its rows leave the journal for predictions.json between two steps of the reader, who holds no lock."""
    model = Predictor.load(best, HOW)
    request = resolve(model.card, images)
    predict_folder(model, request, tmp_path / "p")
    index, read = (tmp_path / "p" / "predictions.json").read_text(encoding="utf-8"), predictions_index.read_object
    with new_journal(tmp_path / "p") as journal:
        content = json.loads(index)
        row = content["cases"]["case_2"]
        journal.add("case_2", row)
        content["cases"]["case_2"] = {"mask": "case_2.png", "seen": None}
        (tmp_path / "p" / "predictions.json").write_text(json.dumps(content))

        def meanwhile(file, *rest):
            found = read(file, *rest)
            (tmp_path / "p" / "predictions.json").write_text(index)
            journal.remove()
            return found

        monkeypatch.setattr(predictions_index, "read_object", meanwhile)
        how = folder.settings_of(model.card, HOW, MaskOptions())
        assert len(folder_status(MaskSource.of(model.card), request, tmp_path / "p", how=how).finished) == 7


def test_a_case_that_a_killed_call_predicted_again_is_finished_by_the_row_in_its_journal(best, images, tmp_path):
    """Its row in a table is of the earlier mask until the next call merges the journal."""
    predict(best, images, tmp_path / "p", tables=[CaseTable("quality.csv", row_of_case)])
    card = Predictor.card_of(best)
    row = {**entries(tmp_path / "p")["case_2"], "digest": "of the new mask", "tables": {"quality.csv": []}}
    with new_journal(tmp_path / "p") as journal:
        journal.add("case_2", row)
    data = card.data_section(images)
    index = Index.open(tmp_path / "p", MaskSource.of(card), data, None, overwrite=False)
    how = folder.settings_of(card, HOW, MaskOptions())
    assert len(finished_cases(index, CASES, how, suffixes=[".png"], tables=["quality.csv"])) == 7


@pytest.mark.usefixtures("no_locks")
def test_who_predicts_is_unknown_where_there_are_no_locks(best, images, tmp_path):
    (tmp_path / "p").mkdir()
    model = Predictor.load(best, HOW)
    request = resolve(model.card, images)
    with new_journal(tmp_path / "p") as journal:
        journal.claim(["case_2", "case_3"])
        said = str(folder_status(MaskSource.of(model.card), request, tmp_path / "p", how={}))
    assert "a process that may have ended (its lock cannot be tested: no file locks here" in said
    assert said.splitlines()[1].endswith("predicts 2 cases of them")


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_killed_call_is_continued_and_another_shard_keeps_its_journal(best, images, tmp_path):
    (tmp_path / "p").mkdir()
    model = Predictor.load(best, HOW)
    first, second = (resolve(model.card, images).shard(number, 2) for number in (1, 2))
    row = {"status": "failed", "reason": "no", "digest": None, "input": None, "files": [], "seconds": None}
    for shard in (first, second):
        with new_journal(tmp_path / "p") as journal:  # nobody can tell whether it has ended
            journal.claim([case.id for case in shard.cases])
            journal.add(shard.cases[0].id, row)
    assert len(predict_folder(model, first, tmp_path / "p", existing="continue").masks) == len(first.cases)
    assert [file.name for file in (tmp_path / "p").glob(".cases-*.json*") if not is_of(journal, file)] == []
    assert journal.claimed() == {case.id for case in second.cases}
    assert list(journal.rows()) == [second.cases[0].id]


def is_of(journal: Journal, file: Path) -> bool:
    return file.name.startswith(f".cases-{journal.call}")


def test_a_call_begins_also_while_somebody_asks_for_the_holder_of_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr("segcct.predictions.case_journal.secrets.token_hex", lambda _: "0" * 8)
    asked, begun = threading.Event(), threading.Event()

    def ask():
        with exclusive(tmp_path / ".cases-00000000.lock", "asking"):
            asked.set()
            begun.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(ask)
        assert asked.wait(20)
        with new_journal(tmp_path):
            begun.set()


def test_a_dry_run_counts_what_continue_would_predict(best, images, tmp_path, capsys):
    command = ["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "p")]
    assert main([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("7 cases of ")
    assert main([*command, "--shard", "1/2"]) == 0
    capsys.readouterr()
    assert main([*command, "--dry-run", "--continue"]) == 0
    assert capsys.readouterr().out.startswith("3 cases of ")
    assert main([*command, "--continue"]) == 0
    capsys.readouterr()
    assert main([*command, "--dry-run", "--continue"]) == 0
    assert capsys.readouterr().out == "no case is left to predict\n"


@pytest.fixture
def damaged(images) -> list[Path]:
    """All of the images, none of which can be read."""
    files = sorted(images.iterdir())
    for file in files:
        file.write_bytes(b"damaged")
    return files


@pytest.mark.usefixtures("damaged")
def test_too_many_failures_stop_it(best, images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(folder, "cases_at_a_time", lambda *_: 1)
    command = ["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "p")]
    assert main([*command, "--max-failures", "0"]) == 1
    assert "more than 0 cases failed: 6 more cases skipped" in capsys.readouterr().err


def test_a_dry_run_in_which_every_case_fails_names_them(best, images, damaged, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("segcct.tasks.segmentation.mask_prediction.cases_at_a_time", lambda *_: 1)  # on any machine
    command = ["predict", "--model", str(best), "--input", str(images), "--output", str(tmp_path / "p")]
    assert main([*command, "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert sum(str(file) in error for file in damaged) == 3  # of seven, as many as are timed
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b"])
def test_what_is_no_part_of_a_cohort_is_wrong_usage(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--model", "m", "--input", "i", "--output", "o", "--shard", text])
    assert "such as 3/16" in capsys.readouterr().err


def test_a_status_and_an_estimate_at_once_are_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--model", "m", "--input", "i", "--output", "o", "--status", "--dry-run"])
    assert "not allowed with argument" in capsys.readouterr().err
