"""Cases that a trained segmenter was not trained on, which may tell how good its masks are.

The estimate of `segcct calibrate` is fitted to them, and `segcct tune-postprocessing` chooses by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from segcct.config import DataSection, SegmentationConfig, settings
from segcct.datasets.case import Case
from segcct.datasets.layouts import find_cases
from segcct.datasets.split_record import Splits
from segcct.errors import DataError, RunError
from segcct.hub import local_model
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import ModelCard, load_card
from segcct.plurals import counted
from segcct.progress import say
from segcct.run_folder import RunFolder


@dataclass(frozen=True)
class UnseenCases:
    """A trained segmenter, or an ensemble, and cases that it was not trained on."""

    folder: Path
    """Its best/ folder; of an ensemble, that of its first member."""
    predictor: Predictor
    cases: tuple[Case, ...]
    data: DataSection
    selected: int = 0
    """Of an ensemble: how many of the cases selected the weights of a member."""

    @classmethod
    def of_run(cls, folder: Path, predictor: Predictor, root: Path, *, trained_with: Sequence[Path] = ()) -> Self:
        """The validation split of a run, checked against what the models behind it were trained on.

        Args:
            folder: the segmenter's best/ folder, inside its run.
            predictor: the segmenter.
            root: the dataset.
            trained_with: weights (`model.pretrained`, `train.unlabelled.model`) that the run was initialized from or
                trained with; checked if they are in a run folder, except where only one of the two is of a phantom.

        Raises:
            RunError: the run's splits.json is gone. SplitError: the dataset has other cases.
            DataError: one of those models was trained on these patients.
        """
        data = predictor.card.data_section(root)
        cases = _splits_of(folder).select(find_cases(data), "val")
        _check_sources(trained_with, cases, predictor.card)
        return cls(folder, predictor, tuple(cases), data)

    @classmethod
    def of_ensemble(
        cls, members: Sequence[Path], predictor: Predictor, root: Path, *, trained_with: Sequence[Path] = ()
    ) -> Self:
        """The labeled cases of a dataset that no member of an ensemble was trained on.

        What a fold held out is no such case: the other members were trained on it.

        Args:
            members: the best/ folders, each inside its run.
            predictor: the ensemble.
            root: the dataset.
            trained_with: as `of_run`, of all runs.

        Raises:
            RunError: splits.json of a run is gone.
            DataError: there are no such cases, or a model of `trained_with` was trained on their patients.
        """
        data = predictor.card.data_section(root)
        labeled = [case for case in find_cases(data) if case.label is not None]
        splits = [_splits_of(member) for member in members]
        patients = {case.id: case.patient for case in labeled}
        trained = {name for each in splits for name in each.trained_on(patients)}
        cases = [case for case in labeled if case.id not in trained]
        if not cases:
            raise DataError(
                "an ensemble is calibrated on cases that none of its members was trained on, and there are none",
                file=root,
                found=f"{counted(len(labeled), 'labeled case')}, {len(trained)} of them in the training of a member",
                expected="a test split that all members share (data.split.kind kfold has one), or other cases",
                remedy="Give a dataset of other patients with --input, or calibrate one fold: --i2m FOLD/best "
                "--folds ...",
            )
        _check_sources(trained_with, cases, predictor.card)
        selected = sum(any(each.split_of(case.id) == "val" for each in splits) for case in cases)
        return cls(members[0], predictor, tuple(cases), data, selected)


def unseen_by_runs(models: Sequence[Path], input: Path | None, inference: InferenceSettings) -> list[UnseenCases]:
    """Each run with its validation cases.

    Args:
        models: the best/ folders, each inside its run.
        input: the dataset root; None is that of the run's config.yaml.
        inference: how they predict.

    Raises as `UnseenCases.of_run`.
    """
    runs = []
    for run in models:
        predictor = Predictor.load(run, inference)
        root, sources = _data_of(run, input)
        runs.append(UnseenCases.of_run(run, predictor, root, trained_with=sources))
    return runs


def unseen_by_ensemble(members: Sequence[Path], input: Path | None, inference: InferenceSettings) -> UnseenCases:
    """An ensemble with the cases that none of its members was trained on; arguments as of `unseen_by_runs`, where an
    `input` of None is the root of the first run.

    Raises as `UnseenCases.of_ensemble`.
    """
    predictor = Predictor.load(members, inference)
    runs = [_data_of(member, input) for member in members]
    sources = [source for _, each in runs for source in each]
    return UnseenCases.of_ensemble(members, predictor, runs[0][0], trained_with=list(dict.fromkeys(sources)))


def _data_of(run: Path, input: Path | None) -> tuple[Path, list[Path]]:
    """The dataset of a run, `input` where it is given, and the models that the run was started from or trained with,
    as far as config.yaml says."""
    if input is not None and not RunFolder(run.parent).config.is_file():
        return input, []
    config = settings.load(SegmentationConfig, RunFolder.open(run.parent).config)
    started = (config.model.pretrained, config.train.unlabelled.model, config.augment.generator)
    return input or config.data.root, [local_model(path) for path in started if path is not None]


def _splits_of(folder: Path) -> Splits:
    file = RunFolder(folder.parent).splits
    if not file.is_file():
        raise RunError(
            "without the run's splits.json it is not known which cases the model was not trained on",
            file=file,
            remedy="Keep best/ in its run folder",
        )
    return Splits.load(file)


def _check_sources(sources: Sequence[Path], cases: Sequence[Case], card: ModelCard) -> None:
    """Raises `DataError` where a model that the runs were initialized from or trained with has seen the patients."""
    for source in sources:
        best = source if source.is_dir() else source.parent
        splits = RunFolder(best.parent).splits
        if not splits.is_file():
            if (best / "model.json").is_file():  # a model of ours, not published weights
                say(f"{source}: no splits.json next to it; whether it was trained on these cases is not known")
        elif load_card(best).synthetic == card.synthetic:
            seen = Splits.load(splits).trained_on({case.id: case.patient for case in cases})
            if seen:
                raise DataError(
                    "a model that this run was initialized from or trained with has seen the patients of "
                    f"{len(seen)} of the {counted(len(cases), 'case')}",
                    file=source,
                    found=", ".join(seen[:4]),
                    remedy="Train it on the same split as the segmenter (same data.split and data.fold), one per fold",
                )
