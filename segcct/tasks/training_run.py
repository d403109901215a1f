"""Any training, from a configuration to a run folder."""

from __future__ import annotations

from segcct.config import Experiment
from segcct.files.json_file import write_json
from segcct.provenance import provenance
from segcct.run_folder import RunFolder
from segcct.tasks.task import Task, task_of
from segcct.training.arithmetic import settle
from segcct.training.processes import is_first_process
from segcct.training.session import check_run, check_same_dataset, open_run, owning_run
from segcct.training.single_sample import check_batch_size
from segcct.training.trainer import fit


def train(config: Experiment, *, resume: RunFolder | None = None) -> RunFolder:
    """Train as `config` says, into a new run folder or on in `resume`; returns the run folder.

    Raises `SegcctError` for whatever is wrong with data, model or run, before the folder appears.
    """
    with owning_run(config.run, resume):
        task = checked_task(config, resume)
        task.prepare()
        config, dataset = task.config, task.dataset
        if resume is not None:
            check_same_dataset(resume, dataset.splits, dataset.fingerprint)
        run = open_run(config.run, config, dataset.splits, resume=resume)
        best = fit(task, run, config.train, seed=config.run.seed, resume=resume is not None)
        if is_first_process():
            write_json(run.summary, {"selected_on": best, "provenance": provenance(dataset.fingerprint)}, private=True)
        return run


def checked_task(config: Experiment, resume: RunFolder | None) -> Task:
    """The task of a configuration, of which all is checked but its data."""
    config = settle(config)
    check_run(config.run, config.train, resume)
    task = task_of(config).load()(config, resumed=resume is not None)
    check_batch_size(task.network, config.train.batch_size, lambda network: task.loss(network, task.example(1, "cpu")))
    return task
