"""Lipschitz constants of a network's pointwise parts, each with its proof, or marked as measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["proven", "estimated"]

ULP = 1 + 1e-12


@dataclass(frozen=True)
class Constant:
    """One number a bound rests on.

    Attributes
    ----------
    place
        Node of the traced network.
    what
        Name of the constant.
    value
        The number.
    kind
        ``proven`` for all inputs, or ``estimated``: the extreme seen on samples.
    """

    place: str
    what: str
    value: float
    kind: Kind


GELU = (0.5 * (1 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi)) * ULP
"""sup |gelu'|, 1.12890...: gelu'(x) = Phi(x) + x phi(x), whose derivative phi(x) (2 - x^2) vanishes at x = sqrt(2)."""

SILU = 1.0998393194
"""sup |silu'|: s + x s (1 - s) with s = sigmoid(x); attained at x = 2.3994, where x tanh(x / 2) = 2, rounded up."""

ACTIVATIONS: dict[str, float] = {
    "relu": 1.0,
    "leaky_relu": 1.0,
    "tanh": 1.0,
    "sigmoid": 0.25,
    "gelu": GELU,
    "silu": SILU,
    "abs": 1.0,
    "neg": 1.0,
}
"""Proven Lipschitz constants by operator (``leaky_relu`` for slopes up to one, ``gelu`` in its exact form)."""

VANISHING_AT_ZERO = frozenset({"relu", "leaky_relu", "tanh", "gelu", "silu", "abs", "neg"})
"""Activations with |f(x)| <= |x|."""


def glu(peak: float) -> float:
    """Return the Lipschitz constant of ``(a, b) -> a sigmoid(b)`` where ``|a| <= peak``, which is a convex set.

    The gradient's square is ``s^2 + a^2 s^2 (1 - s)^2`` with s = sigmoid(b) in (0, 1).  Its maximum over s is at s = 1, or where
    the derivative vanishes: ``1 + a^2 (1 - s) (1 - 2 s) = 0``, with real roots for a^2 >= 8, the smaller one the maximum.
    """
    if math.isinf(peak):
        return math.inf
    if peak * peak < 8:
        return 1.0
    s = (3 - math.sqrt(1 - 8 / (peak * peak))) / 4
    return max(1.0, s * math.sqrt(1 + peak * peak * (1 - s) ** 2)) * ULP
