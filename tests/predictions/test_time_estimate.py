"""How long a prediction would take: cases that overlap, that are finished, or that are elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from segcct.case_runner import CaseOutcome, Done, Failed
from segcct.datasets.case import Case
from segcct.errors import DataError
from segcct.files.atomic_file import sweep
from segcct.predictions.mask_folder import Predictions
from segcct.predictions.prediction_request import Request
from segcct.predictions.time_estimate import busy_seconds, time_estimate
from segcct.predictions.tracked_case import PredictedCase, Span
from tests.support.toy_pair import data_section


def request_of(*files: Path) -> Request:
    cases = (Case(str(number), str(number), {"ct": (file,)}) for number, file in enumerate(files))
    return Request(tuple(cases), data_section())


def one() -> int:
    """A worker, at any time."""
    return 1


class Timed:
    """A prediction whose cases take a second together where they share batches, else one after the other."""

    def __init__(self, *, shared: bool, processes: int = 1, damaged: Sequence[str] = ()) -> None:
        self.shared, self.processes, self.damaged = shared, processes, damaged
        self.calls: list[list[str]] = []
        self.outputs: list[Path] = []

    def __call__(self, request: Request, output: Path) -> Predictions:
        self.calls.append([case.id for case in request.cases])
        self.outputs.append(output)
        outcomes: list[CaseOutcome[PredictedCase]] = []
        for number, case in enumerate(request.cases):
            turn, process = divmod(number, self.processes)
            began = 0.0 if self.shared else float(turn)
            span = Span(f"host-{process}", began, began + 1)
            if case.id in self.damaged:
                outcomes.append(Failed(case.id, (f"{case.id}: damaged",), "damaged"))
            else:
                outcomes.append(Done(case.id, PredictedCase(output / "mask", "", False, seconds=1.0, span=span)))
        return Predictions(output, outcomes)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Twelve of 1 to 12 kB, the last ones smallest."""
    for number in range(12):
        (tmp_path / str(number)).write_bytes(bytes(1000 * (12 - number)))
    return [tmp_path / str(number) for number in range(12)]


def test_busy_time_counts_what_overlaps_once_and_every_process():
    spans = [Span("a", 3, 5), Span("a", 0, 2), Span("a", 1, 2.5), Span("a", 4, 4.5), Span("b", 0, 2)]
    assert busy_seconds(spans) == 2.5 + 2 + 2
    assert busy_seconds([]) == 0


def test_small_medium_and_large_ones_are_timed_by_their_bytes(files, tmp_path):
    predict = Timed(shared=False)
    said = time_estimate(request_of(*files), tmp_path / "p", predict, workers=one, at_a_time=1)
    assert predict.calls == [["9"], ["9", "5", "1"]]  # the first case of a process is timed again
    # 3 + 7 + 11 of 78 kB in 3 s
    assert said == (
        "12 cases of 78 kB; 3 of them took 3.00 s: all take about 11 s on 1 worker; "
        "with more workers like this, 6 s on 2, 3 s on 4, 2 s on 8"
    )  # the largest alone takes 12/21 of 3 s


def test_cases_that_share_batches_are_timed_together(files, tmp_path):
    predict = Timed(shared=True)
    said = time_estimate(request_of(*files), tmp_path / "p", predict, workers=one, at_a_time=6)
    assert len(predict.calls[-1]) == 6
    assert "6 of them took 1.00 s: all take about 2 s on 1 worker;" in said  # not 13 s


def test_several_processes_work_at_a_time(files, tmp_path):
    predict = Timed(shared=False, processes=2)
    said = time_estimate(request_of(*files), tmp_path / "p", predict, workers=lambda: 2, at_a_time=1)
    assert said.endswith(
        "3 of them took 3.00 s: all take about 6 s on 2 workers; with more workers like these, 3 s on 4, 2 s on 8"
    )


def test_executors_that_register_meanwhile_count(files, tmp_path):
    """A cluster has none when Spark has just started."""
    predict = Timed(shared=False, processes=8)
    said = time_estimate(
        request_of(*files), tmp_path / "p", predict, workers=lambda: 8 if predict.calls else 2, at_a_time=1
    )
    assert said.endswith("all take about 2 s on 8 workers")


def test_one_case_takes_no_less_time_on_many_workers(files, tmp_path):
    predict = Timed(shared=False)
    said = time_estimate(request_of(files[0]), tmp_path / "p", predict, workers=lambda: 64, at_a_time=1)
    assert said.endswith("1 of them took 1.00 s: all take about 1 s on 64 workers")


def test_incomplete_cases_are_counted_but_not_timed(files, tmp_path):
    predict, complete = Timed(shared=False), request_of(*files[:2])
    lacking = [Case(name, name, {}, error=DataError("channel ct is missing")) for name in "abcdef"]
    request = replace(complete, cases=(*complete.cases, *lacking))
    said = time_estimate(request, tmp_path / "p", predict, workers=one, at_a_time=1)
    assert predict.calls[-1] == ["1", "0"]
    assert said.startswith("8 cases of 23 kB; 2 of them took 2.00 s: all take about 2 s on 1 worker")


def test_cases_are_timed_in_the_folder_of_the_masks_where_it_is_there(files, tmp_path):
    """The one above may not be writable."""
    predict = Timed(shared=False)
    (tmp_path / "p").mkdir()
    time_estimate(request_of(*files), tmp_path / "p", predict, workers=one, at_a_time=1)
    assert {output.parents[1] for output in predict.outputs} == {tmp_path / "p"}
    assert not list((tmp_path / "p").iterdir())


def test_what_a_killed_estimate_left_is_swept_after_a_day(files, tmp_path):
    predict = Timed(shared=False)
    time_estimate(request_of(*files), tmp_path / "p", predict, workers=one, at_a_time=1)
    for output in predict.outputs:
        output.mkdir(parents=True)  # as a kill leaves it
        (output / "mask.nii.gz").write_bytes(b"mask")
    (left,) = {output.parent for output in predict.outputs}
    sweep(tmp_path)
    assert left.is_dir()
    day_ago = time.time() - 90000
    os.utime(left, (day_ago, day_ago))
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_timed_case_that_fails_is_not_counted(files, tmp_path):
    predict = Timed(shared=False, damaged=["5"])
    said = time_estimate(request_of(*files), tmp_path / "p", predict, workers=one, at_a_time=1)
    # 3 + 11 of 78 kB in 2 s
    assert "2 of them took 2.00 s, and 1 failed: all take about 11 s on 1 worker;" in said
    everything = Timed(shared=False, damaged=[str(number) for number in range(12)])
    with pytest.raises(DataError, match="3 of 3 cases failed"):
        time_estimate(request_of(*files), tmp_path / "p", everything, workers=one, at_a_time=1)
    unnamed = replace(request_of(*files), anonymize=True)
    with pytest.raises(DataError) as refused:  # by hashed names of a folder that is gone, nobody finds a case
        time_estimate(unnamed, tmp_path / "p", everything, workers=one, at_a_time=1)
    words = "3 of 3 cases failed:\n  - damaged\nWithout --dry-run, sources.json says which cases fail"
    assert str(refused.value) == words


def test_cases_that_failed_before_are_timed_only_where_no_other_is_left(files, tmp_path):
    request, predict = request_of(*files), Timed(shared=False)
    said = time_estimate(request, tmp_path / "p", predict, untried=request.cases[4:6], workers=one, at_a_time=1)
    assert predict.calls[-1] == ["5", "4"]
    assert said.startswith("12 cases of 78 kB; 2 of them took 2.00 s: all take about")
    time_estimate(request, tmp_path / "p", predict, untried=(), workers=one, at_a_time=1)
    assert predict.calls[-1] == ["9", "5", "1"]


def test_remote_files_are_asked_for_their_size(files, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/sizes/scan", bytes(1_000_000))
    remote, gone = Path("memory://sizes/scan"), Path("memory://sizes/gone")
    said = time_estimate(request_of(remote, files[0]), tmp_path / "p", Timed(shared=False), workers=one, at_a_time=1)
    assert said.startswith("2 cases of 1.01 MB; 2 of them took 2.00 s: all take about 2 s")
    said = time_estimate(request_of(remote, gone), tmp_path / "p", Timed(shared=False), workers=one, at_a_time=1)
    assert said.startswith("2 cases of 1 MB, not counting 1 of unknown size; 2 of them took 2.00 s: all take about")


def test_a_folder_of_slices_is_as_large_as_its_files(files, tmp_path):
    said = time_estimate(request_of(tmp_path), tmp_path / "p", Timed(shared=False), workers=one, at_a_time=1)
    assert said.startswith("1 case of 78 kB;")


def test_nothing_left_takes_no_time(tmp_path):
    predict = Timed(shared=False)
    said = time_estimate(request_of(), tmp_path / "p", predict, workers=one, at_a_time=1)
    assert said == "no case is left to predict"
    assert not predict.calls
