"""Cases over processes: bounded memory, results in order, and an error that names the case when a process dies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from segcct.errors import CASE_FAILURES, EvaluationError, failure_of
from segcct.evaluation.scoring import Job, Outcome, score_case
from segcct.progress import Report


def run_jobs(jobs: Sequence[Job], workers: int, progress: Report | None = None) -> list[Outcome]:
    """Outcomes in the order of the jobs. Once a case has a problem, the others are only checked."""
    if progress and jobs:
        progress(0, len(jobs))
    if workers == 1 or len(jobs) < 2:
        return _in_turn(jobs, progress)
    return _in_parallel(jobs, workers, progress)


def _in_turn(jobs: Sequence[Job], progress: Report | None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    failed = False
    for job in jobs:
        outcome = _scored(replace(job, check_only=True) if failed else job)
        failed = failed or bool(outcome.problems)
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(jobs))
    return outcomes


def _in_parallel(jobs: Sequence[Job], workers: int, progress: Report | None) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    # Spawned, not forked: a fork copies locks of threads that other libraries may hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        running: dict[Future[Outcome], int] = {}
        waiting = list(enumerate(jobs))[::-1]
        failed = False
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                place, job = waiting.pop()
                running[pool.submit(score_case, replace(job, check_only=True) if failed else job)] = place
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place = running.pop(future)
                outcomes[place] = _result(future, jobs[place], workers)
                failed = failed or bool(outcomes[place].problems)
                if progress:
                    progress(len(outcomes), len(jobs))
    return [outcomes[place] for place in range(len(jobs))]


def _result(future: Future[Outcome], job: Job, workers: int) -> Outcome:
    try:
        return future.result()  # a failure of the case itself is an outcome
    except BrokenProcessPool as error:
        raise EvaluationError(
            f"a worker process died, while scoring case {job.id} or one beside it",
            file=job.prediction,
            remedy=f"It may have run out of memory: use fewer than {workers} workers",
        ) from error
    except CASE_FAILURES as error:
        return _problem_of(job, error)


def _scored(job: Job) -> Outcome:
    try:
        return score_case(job)
    except CASE_FAILURES as error:
        return _problem_of(job, error)


def _problem_of(job: Job, error: Exception) -> Outcome:
    """What `score_case` did not expect is a problem of its case: the others are looked at all the same."""
    return Outcome(job.id, problems=(f"{failure_of(error, job.id)} ({job.prediction})",))
