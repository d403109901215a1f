"""The pictures of a classification report: typical and mistaken ones, with the tokens that the classifier weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from segcct.case_runner import Done, failures
from segcct.errors import DataError, RunError, SegcctError
from segcct.figures.tokens import enlarged, token_overlay, tokens_for_half
from segcct.model_card import load_card
from segcct.plurals import counted
from segcct.report.viewer import data_uri
from segcct.tasks.classification.class_results import ClassResults, Verdict
from segcct.tasks.classification.image_reading import section_of
from segcct.tasks.classification.labeled_images import decoded
from segcct.tasks.classification.new_images import find_source

SIDE_PX = 192
MOST_CLASSES = 10
MOST_MISTAKES = 12


@dataclass(frozen=True)
class Thumbnail:
    """One picture of the page."""

    verdict: Verdict
    picture: str
    """Data URI."""
    tokens: str | None = None
    """The same under the weights of its tokens; None where there are none."""
    half: float | None = None
    """Smallest fraction of the tokens that holds half of the weight."""


@dataclass(frozen=True)
class Gallery:
    """Both rows of pictures, or why there is none."""

    typical: tuple[Thumbnail, ...] = ()
    mistakes: tuple[Thumbnail, ...] = ()
    problem: str = ""
    """Why there are no pictures at all."""
    without_tokens: str = ""
    """Why there are no token weights."""


def typical_pictures(results: ClassResults) -> list[Verdict]:
    """Of each of the first classes the correctly classified picture of median confidence."""
    ranked = sorted(results.verdicts, key=lambda one: (one.confidence, one.picture))
    correct = [[one for one in ranked if one.correct and one.true == name] for name in results.classes[:MOST_CLASSES]]
    return [ones[(len(ones) - 1) // 2] for ones in correct if ones]


def surest_mistakes(results: ClassResults) -> list[Verdict]:
    """The wrong pictures of highest confidence."""
    wrong = [one for one in results.verdicts if not one.correct]
    return sorted(wrong, key=lambda one: (-one.confidence, one.picture))[:MOST_MISTAKES]


def gallery(results: ClassResults) -> Gallery:
    """Pictures read from the dataset that the evaluation names, weighed by the model that predicted."""
    typical, mistakes = typical_pictures(results), surest_mistakes(results)
    try:
        images = _images(results, [one.picture for one in (*typical, *mistakes)])
    except SegcctError as error:
        return Gallery(problem=str(error))
    shown = [
        Thumbnail(verdict, data_uri(enlarged(image, SIDE_PX)))
        for verdict, image in zip((*typical, *mistakes), images, strict=True)
    ]
    problem = ""
    try:
        weights = _token_weights(results, images)
        shown = [
            replace(each, tokens=data_uri(token_overlay(image, weight, SIDE_PX)), half=tokens_for_half(weight))
            for each, image, weight in zip(shown, images, weights, strict=True)
        ]
    except SegcctError as error:
        problem = str(error)
    return Gallery(tuple(shown[: len(typical)]), tuple(shown[len(typical) :]), without_tokens=problem)


def _images(results: ClassResults, ids: Sequence[str]) -> np.ndarray:
    """(n, S, S, C) uint8."""
    stored = results.summary.data or {}
    if not stored.get("root"):
        raise DataError("the evaluation does not say where its pictures are")
    try:
        section = section_of(stored, Path(str(stored["root"])))
    except ValidationError:
        raise DataError("the evaluation does not say how its pictures are read") from None
    read: dict[str, np.ndarray] = {}
    for outcome in decoded(find_source(section).pixels(set(ids)), section, total=len(ids)):
        if not isinstance(outcome, Done):
            raise DataError(failures([outcome])[0])
        read[outcome.name] = outcome.value[0]
    gone = [name for name in ids if name not in read]
    if gone:
        raise DataError(
            f"{len(gone)} of {counted(len(ids), 'picture')} not found in the dataset",
            file=section.root,
            found=f"no {gone[0]}",
        )
    return np.array([read[name] for name in ids])


def _token_weights(results: ClassResults, images: np.ndarray) -> np.ndarray:
    """(n, h, w). Raises `SegcctError` where the model is gone, another one by now, or does not pool by weights."""
    named = results.summary.model
    if named is None:
        raise RunError("the evaluation names no model")
    if not len(images):
        return np.empty((0, 1, 1))
    folder = Path(named)
    if load_card(folder).weights_sha256 != results.summary.weights_sha256:
        raise RunError("the model's folder holds other weights than predicted", file=folder)
    from segcct.tasks.classification.classifier import Classifier

    return Classifier.load(folder).token_shares(images)
