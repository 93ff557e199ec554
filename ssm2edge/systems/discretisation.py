"""Continuous-time modes with a step size, in discrete time.

    x'(t) = lambda x(t) + B u(t)    becomes    x[k+1] = pole x[k] + gain B u[k]

``zoh`` holds the input over a step and is exact for such inputs.  ``bilinear`` is the trapezoidal rule (Tustin).  ``dirac`` takes
samples for impulses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def zero_order_hold(continuous: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the poles ``exp(lambda dt)`` and the gains ``(exp(lambda dt) - 1) / lambda``: dt where lambda is zero."""
    poles = torch.exp(continuous * step)
    integrates = continuous == 0
    held = (poles - 1) / torch.where(integrates, torch.ones_like(continuous), continuous)
    return poles, torch.where(integrates, step.to(held), held)


def bilinear(continuous: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the poles ``(1 + lambda dt / 2) / (1 - lambda dt / 2)`` and the gains ``dt / (1 - lambda dt / 2)``."""
    half = continuous * step / 2
    return (1 + half) / (1 - half), step / (1 - half)


def dirac(continuous: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the poles ``exp(lambda dt)`` and gains of one."""
    poles = torch.exp(continuous * step)
    return poles, torch.ones_like(poles)


DISCRETISATIONS: Mapping[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "zoh": zero_order_hold,
    "bilinear": bilinear,
    "dirac": dirac,
}
"""Poles and input gains, of the shape of the modes, from complex128 modes and float64 step sizes, by the names layers use."""
