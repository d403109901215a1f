"""The seed of each batch, by which a resumed run trains on exactly the batches of an uninterrupted one.

Everything random is a function of (seed, epoch, batch): the sampler is seeded by epoch and the generators at each
batch start. A run that was killed and resumed from its last epoch end therefore equals an uninterrupted one.
"""

from __future__ import annotations

import numpy as np


def batch_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Seed of the generators for one batch of one process."""
    return int(np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0] >> 1)
