"""The images of a classification report: typical and misclassified ones, with the token weights of the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segcct.case_runner import Done, failures
from segcct.errors import DataError, RunError, SegcctError
from segcct.figures.tokens import enlarged, token_overlay, tokens_for_half
from segcct.model_card import load_card
from segcct.report.viewer import data_uri
from segcct.tasks.classification.class_results import ClassResults, ImageResult
from segcct.tasks.classification.image_layout import section_of
from segcct.tasks.classification.image_source import find_source
from segcct.tasks.classification.labeled_images import not_in_dataset

SIZE_PX = 192
MOST_CLASSES = 10
MOST_MISTAKES = 12


@dataclass(frozen=True)
class Thumbnail:
    """One image of the page."""

    result: ImageResult
    image: str
    """Data URI."""
    tokens: str | None = None
    """The same under the weights of its tokens; None where there are none."""
    half: float | None = None
    """Smallest fraction of the tokens that holds half of the weight."""


@dataclass(frozen=True)
class Gallery:
    """Both rows of images, or why there is none."""

    typical: tuple[Thumbnail, ...] = ()
    mistakes: tuple[Thumbnail, ...] = ()
    problem: str = ""
    """Why there are no images at all; empty where there are."""
    without_tokens: str = ""
    """Why there are no token weights; empty where there are."""


def typical_images(results: ClassResults) -> list[ImageResult]:
    """For each of the first classes, the correctly classified image of median confidence."""
    ranked = sorted(results.images, key=lambda one: (one.confidence, one.image))
    correct = [[one for one in ranked if one.correct and one.true == name] for name in results.classes[:MOST_CLASSES]]
    return [ones[(len(ones) - 1) // 2] for ones in correct if ones]


def surest_mistakes(results: ClassResults) -> list[ImageResult]:
    """The misclassified images of highest confidence."""
    wrong = [one for one in results.images if not one.correct]
    return sorted(wrong, key=lambda one: (-one.confidence, one.image))[:MOST_MISTAKES]


def gallery(results: ClassResults) -> Gallery:
    """Images read from the dataset that the evaluation names, with the token weights of the model that predicted."""
    typical, mistakes = typical_images(results), surest_mistakes(results)
    try:
        images = _images(results, [one.image for one in (*typical, *mistakes)])
    except SegcctError as error:
        return Gallery(problem=str(error))
    thumbnails = [
        Thumbnail(result, data_uri(enlarged(image, SIZE_PX)))
        for result, image in zip((*typical, *mistakes), images, strict=True)
    ]
    problem = ""
    try:
        weights = _token_weights(results, images)
        thumbnails = [
            replace(each, tokens=data_uri(token_overlay(image, weight, SIZE_PX)), half=tokens_for_half(weight))
            for each, image, weight in zip(thumbnails, images, weights, strict=True)
        ]
    except SegcctError as error:
        problem = str(error)
    return Gallery(tuple(thumbnails[: len(typical)]), tuple(thumbnails[len(typical) :]), without_tokens=problem)


def _images(results: ClassResults, ids: Sequence[str]) -> np.ndarray:
    """(n, S, S, C) uint8."""
    stored = results.summary.data or {}
    if not stored.get("root"):
        raise DataError("the evaluation does not say where its images are")
    section = section_of(stored, Path(str(stored["root"])), file=results.folder / "summary.json", error=DataError)
    images: dict[str, np.ndarray] = {}
    for outcome in find_source(section).decoded(ids):
        if not isinstance(outcome, Done):
            raise DataError(failures([outcome])[0])
        images[outcome.name] = outcome.value[0]
    missing = [name for name in ids if name not in images]
    if missing:
        raise not_in_dataset(missing, ids, section.root)
    return np.array([images[name] for name in ids])


def _token_weights(results: ClassResults, images: np.ndarray) -> np.ndarray:
    """(n, h, w). Raises `SegcctError` where the model is gone, has changed, or does not pool by weights."""
    if results.summary.model is None:
        raise RunError("the evaluation names no model")
    if not len(images):
        return np.empty((0, 1, 1))
    folder = Path(results.summary.model)
    if load_card(folder).weights_sha256 != results.summary.weights_sha256:
        raise RunError("the model's folder holds other weights than those that predicted", file=folder)
    from segcct.tasks.classification.classifier import Classifier

    return Classifier.load(folder).token_weights(images)
