"""Which cases or images train, select the model and test: one section for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from segcct.config.base import Section, Seed

Amount = Annotated[float, Field(ge=0)]
Fold = Annotated[int, Field(ge=0)]


class SplitSection(Section):
    kind: Literal["fractions", "kfold", "crossval", "lists"] = "fractions"
    """fractions: patients or images drawn by seed; kfold: fold `data.fold` validates and `test` is drawn; crossval:
    fold `data.fold` tests and `val` is drawn from the others, so that nothing is tested on that selected the weights;
    lists: files with the names. A test or validation split that the dataset itself has is used as it is (kfold trains
    and validates on its validation split, crossval leaves its test split out), and fractions are of the rest."""
    val: Amount = 0.15
    """What selects the model (fractions and crossval): a fraction below 1, a number from 1 on, of patients or
    images."""
    test: Amount = 0.15
    """What is kept for testing (fractions and kfold): a fraction below 1, a number from 1 on, of patients or images."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds, for kfold, crossval, and lists without a validation list."""
    train_list: Path | None = None
    """File with a case, a patient, or an image (its path below the root) per line, for lists."""
    val_list: Path | None = None
    """File with a case or image per line; without it fold `data.fold` of the training list validates."""
    test_list: Path | None = None
    """File with a case or image per line."""
    seed: Seed = 0
    """Seed of the draw; independent of `run.seed`, so that runs with other seeds share one split."""

    @model_validator(mode="after")
    def _possible(self) -> SplitSection:
        lists = {"train_list": self.train_list, "val_list": self.val_list, "test_list": self.test_list}
        names = [f"data.split.{name}" for name, path in lists.items() if path is not None]
        if self.kind != "lists" and names:
            raise ValueError(
                f"{' and '.join(names)} would not be read under data.split.kind: {self.kind}; "
                "set data.split.kind: lists, or the lists to null"
            )
        if self.kind == "lists" and self.train_list is None:
            raise ValueError("split kind lists needs data.split.train_list")
        for name, amount in (("val", self.val), ("test", self.test)):
            if amount > 1 and amount != int(amount):
                raise ValueError(f"data.split.{name} is a fraction below 1 or a whole number, found {amount}")
        if self.kind == "fractions" and max(self.val, self.test) < 1 <= self.val + self.test:
            raise ValueError("data.split.val + data.split.test must leave something for training (below 1)")
        return self

    @property
    def folded(self) -> bool:
        """One fold, whose number is `data.fold`, is held out: it tests under crossval, and else validates."""
        return self.kind in ("kfold", "crossval") or (self.kind == "lists" and self.val_list is None)

    def check_fold(self, fold: int) -> None:
        """Raises `ValueError` for a `data.fold` that is none of the folds, or where nothing is folded."""
        if fold and not self.folded:
            raise ValueError(
                f"data.fold is {fold}, but nothing is folded here: every fold would train on the same split; set "
                "data.split.kind: kfold or data.split.kind: crossval, or lists without data.split.val_list, or leave "
                "data.fold at 0"
            )
        if self.folded and fold >= self.folds:
            raise ValueError(f"data.fold is {fold} but data.split.folds is {self.folds} (folds count from 0)")
