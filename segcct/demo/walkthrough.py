"""The demo's steps: the commands that a user would type, from synthetic cases to pages to look at."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from segcct.errors import DataError, RunError
from segcct.run_folder import RunFolder

CASES, VOXEL_MM = 20, 2
"""Synthetic patients, and the size of their voxels."""
TASKS = ("segmentation", "reconstruction")
"""The demo's two runs, each with a config of that name in this package."""


@dataclass(frozen=True)
class Step:
    """One command of the demo."""

    title: str
    words: tuple[str, ...]
    """Arguments of `segcct`."""
    continues: bool = False
    """The step before names this command as the next one; `words` are added to it."""


@dataclass(frozen=True)
class Places:
    """Where the demo writes."""

    run: Path = Path("runs/demo")
    """The run folder of the segmentation; masks, scores, pages and the generator's run lie in it."""
    dataset: Path = Path("data/demo_phantom")

    def config(self, task: str) -> Path:
        """The config of a task, next to the run folder, which must not exist before training."""
        return self.run.with_name(f"{self.run.name}_{task}.yaml")


def prepare(places: Places) -> list[Step]:
    """Write the two configs and return the steps that remain: phantom, training, prediction, evaluation, report,
    training of the generator, comparison. A dataset that an earlier demo drew is used again.

    Args:
        places: where everything goes.

    Raises:
        RunError: the run folder holds something, or cannot be made.
        DataError: the dataset's folder holds something else than these cases, or one of the two folders lies in the
            other.
    """
    _check_places(places)
    drawn = _is_drawn(places.dataset)
    for task in TASKS:
        target = places.config(task)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((resources.files("segcct.demo") / f"{task}.yaml").read_bytes())
    run, data = places.run, places.dataset
    models = ("--i2m", run / "best", "--m2i", run / "m2i" / "best")
    steps = [
        _step("draw synthetic brain tumors", "phantom", "brats", data, "--cases", CASES, "--reduce", VOXEL_MM),
        _step("train a CCT-UNet, image to mask", "train-seg", "--config", places.config("segmentation"),
              *_where(run.parent, run.name, data)),
        Step("segment the held-out cases", (), continues=True),
        Step("score the masks", (), continues=True),
        Step("write the page", ("--picture", str(run / "report" / "panel.png")), continues=True),
        _step("train a generator, mask to image", "train-m2i", "--config", places.config("reconstruction"),
              *_where(run, "m2i", data)),
        _step("compare the scans with what their masks explain", "compare", *models, "--input", data, "--split", "test",
              "--output", run / "comparison"),
    ]  # fmt: skip
    return steps[1:] if drawn else steps


def _step(title: str, *words: object) -> Step:
    return Step(title, tuple(str(word) for word in words))


def _where(root: Path, name: str, data: Path) -> tuple[object, ...]:
    """Keys that are set only where the demo writes elsewhere than its configs say."""
    usual = Places()
    keys: list[object] = []
    if (root, name) not in ((usual.run.parent, usual.run.name), (usual.run, "m2i")):
        keys += ["--run.root", root, "--run.name", name]
    if data != usual.dataset:
        keys += ["--data.root", data]
    return tuple(keys)


def _check_places(places: Places) -> None:
    """Raises `RunError` or `DataError` where a later step would fail, minutes after the first ones."""
    try:
        RunFolder.check_free(places.run)
    except RunError as error:
        error.remedy = "Choose another folder with --output, or remove this one"
        raise
    run, dataset = places.run.resolve(), places.dataset.resolve()
    if run.is_relative_to(dataset) or dataset.is_relative_to(run):
        raise DataError(
            "the run folder and the dataset are kept apart",
            file=places.run,
            found=f"--data {places.dataset}",
            remedy="Name two folders of which neither lies in the other",
        )
    parent = next(folder for folder in run.parents if folder.exists())
    if not parent.is_dir():
        raise RunError("is not a folder", file=parent, remedy="Choose another folder with --output")


def _is_drawn(dataset: Path) -> bool:
    """Whether an earlier demo drew these cases already. Raises `DataError` where something else is there."""
    if not dataset.exists() or (dataset.is_dir() and not any(dataset.iterdir())):
        return False
    names = [entry.name for entry in dataset.iterdir() if entry.name[0] != "."] if dataset.is_dir() else []
    if len(names) == CASES and all(name.startswith("SegcctPhantom_") for name in names):
        return True
    raise DataError(
        "is not the demo's dataset, or not all of it",
        file=dataset,
        found=f"{len(names)} entries" if dataset.is_dir() else "a file",
        expected=f"{CASES} synthetic cases",
        remedy="Remove it, and it is drawn again, or choose another folder with --data",
    )
