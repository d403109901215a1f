"""The progress of a run: by epochs, or by wall clock where there is a budget."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from segcct.config import TrainSection


class Clock:
    """Progress of training: by epochs, or by wall clock when there is a budget.

    Validations count toward the budget: as much time as the latest one took is reserved for the last. How long the
    first takes is not known beforehand, so it overruns a budget that is shorter than an epoch.
    """

    def __init__(self, train: TrainSection) -> None:
        self.epochs = train.epochs
        self.budget = train.budget
        """Seconds; None: training is measured in epochs."""
        self.validation_fraction = train.validation_time
        """Largest fraction of the elapsed time that validations may take; None: any."""
        self.latest_validation_s = 0.0
        self.all_validations_s = 0.0
        self.ended: float | None = None
        """The budget that ended training."""
        self._before_resume_s = 0.0
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of training, over all resumes."""
        return self._before_resume_s + time.monotonic() - self._started

    def start(self) -> None:
        """Start counting; call this after a resume too."""
        self._started = time.monotonic()

    def progress(self, epoch: int, batch: int, batches: int) -> float:
        """Fraction of training that is done, in [0, 1]."""
        if self.budget is None:
            return min((epoch * batches + batch) / (self.epochs * batches), 1.0)
        return min(self.elapsed / max(self.budget - self.latest_validation_s, 1e-9), 1.0)

    def has_time_to_validate(self) -> bool:
        """Whether another validation would keep within `train.validation_time`."""
        if self.validation_fraction is None or not self.all_validations_s:
            return True
        return self.all_validations_s + self.latest_validation_s <= self.validation_fraction * self.elapsed

    def validated(self, seconds: float) -> None:
        """Count a validation."""
        self.latest_validation_s = seconds
        self.all_validations_s += seconds

    def over(self) -> bool:
        """Whether what is left of the budget is needed for the last validation."""
        if self.budget is None:
            return False
        return self.ended == self.budget or self.elapsed + self.latest_validation_s >= self.budget

    def state_dict(self) -> dict[str, float | None]:
        """What a resumed run needs, in seconds, for last.ckpt."""
        return {
            "elapsed": self.elapsed,
            "validation": self.latest_validation_s,
            "validations": self.all_validations_s,
            "ended": self.ended,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._before_resume_s = state["elapsed"]
        self.latest_validation_s = state["validation"]
        self.all_validations_s = state["validations"]
        self.ended = state["ended"]
