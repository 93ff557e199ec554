"""The mixture of ensembles on which builds calibrate: one for all models, see ``scripts/synthetic_signals.py``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.signals.ensemble import Array, of_unit_size
from ssm2edge.signals.registry import ENSEMBLES

CHOSEN = (
    "white", "coloured", "smooth", "levels", "transients", "bursts", "rectified", "saturated", "heavy", "tones",
)  # fmt: skip
"""Names of the ensembles in the mixture, in equal parts."""


def mixture(generator: np.random.Generator, count: int, steps: int, features: int, names: Sequence[str] = CHOSEN) -> Array:
    """Return sequences of several ensembles in equal parts, each of root mean square one."""
    shares = [count // len(names) + (place < count % len(names)) for place in range(len(names))]
    drawn = (ENSEMBLES[name](generator, share, steps, features) for name, share in zip(names, shares, strict=True) if share)
    return np.concatenate([of_unit_size(sequences) for sequences in drawn])
