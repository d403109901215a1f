"""timm draws from the global random generators: they are seeded for it, and given back as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

Seed = Callable[..., None]
"""Sets the generators by whole numbers."""


@contextmanager
def seeded_generators() -> Iterator[Seed]:
    """Yields `seed(*words)`, which sets the generators of `random`, NumPy and torch (CPU) by whole numbers."""
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002

    def seed(*words: int) -> None:
        first, second, third = np.random.SeedSequence(words).generate_state(3).tolist()
        random.seed(first)
        np.random.seed(second)  # noqa: NPY002
        torch.random.default_generator.manual_seed(third)

    try:
        yield seed
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.random.set_rng_state(before[2])
