"""The quality estimate as numbers: features in, an estimated Dice with its interval out; stored as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from segcct.errors import ModelError, SegcctError
from segcct.files.json_file import MOST_BYTES_OF_MODEL, read_object
from segcct.files.json_record import Record
from segcct.inference.preparation_digest import preparation_digest
from segcct.model_card import ModelCard
from segcct.quality.conformal import LEVEL
from segcct.quality.features import FEATURES, CaseFeatures, Features
from segcct.quality.regression import Covariate, from_angle, on_curve
from segcct.run_folder import FoldsFolder

FILE = "quality.json"
FLAG_BELOW = 0.7
"""Masks with a lower estimated Dice are flagged for review."""
_MISSED_FROM = 0.5
"""A class that is not predicted counts as missed if at least this fraction of such calibration cases contained it."""
_FIGURES = ("spearman", "mae", "auroc")
_REMEDY = "Write it again with segcct calibrate"

Knots = Annotated[tuple[list[float], list[float]], Field(strict=False)]
"""x and y of a piecewise linear function."""


@dataclass(frozen=True)
class Estimate:
    """The estimated Dice of one class of one predicted mask."""

    dice: float
    low: float
    high: float
    """Ends of the 90% interval; 0 and 1 if the calibration had too few patients for one."""
    has_interval: bool = True


class QualityModel(Record):
    """A fitted estimate for the classes of one segmenter."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)
    NOT_THIS: ClassVar[str] = "cannot be used as a quality estimate"
    ERROR: ClassVar[type[SegcctError]] = ModelError
    format: Literal[1] = 1
    classes: list[str]
    covariates: list[Covariate]
    slopes: dict[str, list[float]]
    """Class -> one per covariate."""
    intercepts: dict[str, float]
    curve: Knots
    """The Dice that the linear model predicts, and the Dice measured for it."""
    residual_scale: Knots
    """The estimated Dice, and the typical size of its error."""
    quantiles: dict[str, float | None]
    """Class -> nonconformity quantile: half the interval, in residual scales; None with too few patients."""
    level: float = LEVEL
    flag_below: float = Field(default=FLAG_BELOW, gt=0, le=1)
    facts: dict[str, Any] = Field(default_factory=dict)
    """What it was fitted on and its performance out of fold; `misses` reads `not_predicted`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        classes = set(self.classes)
        for what, table in (("slopes", self.slopes), ("intercepts", self.intercepts), ("quantiles", self.quantiles)):
            if set(table) != classes:
                raise ValueError(f"{what} of {', '.join(table) or 'no class'}, not of {', '.join(self.classes)}")
        for one in self.covariates:
            if not classes <= set(one.center) & set(one.scale):
                raise ValueError(f"feature {one.feature} is not scaled for every class")
        if any(len(own) != len(self.covariates) for own in self.slopes.values()):
            raise ValueError("the numbers of slopes and features differ")
        for x, y in (self.curve, self.residual_scale):
            if not x or len(x) != len(y) or any(later < earlier for earlier, later in pairwise(x)):
                raise ValueError("knots that are not in order, or columns of unequal length")
        try:
            for name in self.classes:
                self.misses(name)
            for row in self.facts.get("leave_one_out", ()):
                _ = str(row["name"]), *(None if row[key] is None else float(row[key]) for key in _FIGURES)
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"facts: {type(error).__name__}: {error}") from None
        return self

    @classmethod
    def load(cls, file: Path, card: ModelCard) -> QualityModel | None:
        """The estimate of a model; None if there is none.

        Args:
            file: the path from `estimate_file`.
            card: the model's.

        Raises:
            ModelError: the file is damaged, or was calibrated for a model with other weights, preparation or
                postprocessing.
        """
        if not file.is_file():
            return None
        content = read_object(file, cls.NOT_THIS, error=ModelError, remedy=_REMEDY, most_bytes=MOST_BYTES_OF_MODEL)
        model = cls.from_json(content, file, _REMEDY)
        found, identity = None, identity_of_masks(card)
        stored = {"preparation": identity["preparation"], **content}  # which earlier versions did not store
        for name, value in identity.items():
            if stored.get(name) != value:
                found = f"calibrated for other {name.removesuffix('_sha256')}"
        for name in model.classes:
            if name not in card.classes:
                found = f"an estimate of class {name[:80]}, which the model does not predict"
        for feature in model.features:
            if feature not in FEATURES:
                found = f"an unknown feature: {feature[:80]}"
        if found:
            raise ModelError(cls.NOT_THIS, file=file, found=found, remedy=_REMEDY)
        return model

    def to_json(self) -> dict[str, Any]:
        """The content of quality.json."""
        return self.model_dump()

    @property
    def digest(self) -> str:
        """Changes only if the estimates would change: the date and the data of the fit are ignored."""
        fitted = self.model_dump(include=set(QualityModel.model_fields) - {"facts"})
        content = json.dumps({**fitted, "not_predicted": self.facts.get("not_predicted")}, sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=20).hexdigest()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features it reads."""
        return tuple(dict.fromkeys(one.feature for one in self.covariates))

    def estimate(self, name: str, features: Features | None) -> Estimate | None:
        """The estimate for class `name`; None for an empty mask, which has no features.

        Raises:
            ModelError: it was not fitted on this class.
        """
        if name not in self.slopes:
            raise ModelError(
                "the quality estimate does not know this class", found=name, expected=", ".join(self.classes)
            )
        if features is None:
            return None
        values = [one.of(features, name) for one in self.covariates]
        angle = self.intercepts[name] + float(np.dot(self.slopes[name], values))
        dice = on_curve(from_angle(angle), *self.curve)
        quantile = self.quantiles[name]
        if quantile is None:
            return Estimate(dice, 0.0, 1.0, has_interval=False)
        half = quantile * float(np.interp(dice, *self.residual_scale))
        return Estimate(dice, max(dice - half, 0.0), min(dice + half, 1.0))

    def estimates(self, features: CaseFeatures) -> dict[str, Estimate | None]:
        """Class -> estimate; None for a class that was not predicted, or that it was not fitted on."""
        return {name: self.estimate(name, own) if name in self.slopes else None for name, own in features.items()}

    def misses(self, name: str) -> bool:
        """Whether a class that was not predicted counts as missed, a Dice of 0, and not as absent.

        It does if at least half of the calibration's cases without a prediction of it contained it, by the rule of
        succession (contained + 1) / (cases + 2): a class that was always predicted there counts as missed.
        """
        counts = self.facts.get("not_predicted", {}).get(name, {"cases": 0, "held_it": 0})
        return bool((counts["held_it"] + 1) / (counts["cases"] + 2) >= _MISSED_FROM)

    def missed(self, features: CaseFeatures) -> list[str]:
        """Classes that were not predicted and count as missed."""
        return [name for name, own in features.items() if own is None and self.misses(name)]

    def with_facts(self, **facts: Any) -> QualityModel:
        """The same estimate with more facts."""
        return self.model_copy(update={"facts": {**self.facts, **facts}})


def estimate_file(members: Sequence[Path], card: ModelCard) -> Path:
    """The path of a model's estimate, whether the file exists or not.

    It is quality.json in the model's best/ folder. For all folds of a cross-validation it is in the folder that holds
    the folds; for another ensemble it is quality_DIGEST.json, with the digest of the ensemble's weights, in the best/
    folder of the first member by path.

    Args:
        members: the best/ folders, in any order.
        card: the model's.
    """
    first, *others = sorted(folder.resolve() for folder in members)
    if not others:
        return members[0] / FILE
    home = first.parent.parent
    if FoldsFolder.is_at(home):
        folds = FoldsFolder.open(home)
        if [first, *others] == sorted(folds.fold(number).best for number in folds.folds):
            return home / FILE
    return first / f"quality_{card.weights_sha256[:12]}.json"


def estimate_files(folder: Path) -> list[Path]:
    """The existing estimates of the model in a best/ folder, and of ensembles that it is a member of; see
    `estimate_file`.

    Estimates of ensembles with another first member are not found, except for that of a cross-validation.
    """
    home = folder.resolve().parent.parent
    of_folds = [home / FILE] if FoldsFolder.is_at(home) else []
    return [file for file in (*of_folds, *sorted(folder.glob("quality*.json"))) if file.is_file()]


def identity_of_masks(card: ModelCard) -> dict[str, Any]:
    """Everything that the masks of a model depend on, as stored in quality.json."""
    steps = [step.model_dump(mode="json") for step in card.postprocessing]
    return {
        "weights_sha256": card.weights_sha256,
        "preparation": preparation_digest(card),
        "postprocessing": steps,
    }
