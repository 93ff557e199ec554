"""White Gaussian noise."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array


def white(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return independent Gaussian numbers."""
    return generator.standard_normal((count, steps, features))
