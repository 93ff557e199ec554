"""The contract every reduction method obeys.

A method takes stable systems of order n and returns stable, finite systems of the order asked for, with the original's
feedthrough unless the method's purpose is to change it, and the :class:`Outcome` for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from ssm2edge.systems.norms import h2_error, proper_energy
from ssm2edge.systems.stability import spectral_radius
from ssm2edge.systems.system import System


class Outcome(IntEnum):
    """End of the reduction of one system."""

    CONVERGED = 0
    """The method did what it says: a direct one ended normally, an iteration met its tolerance."""
    IDENTITY = 1
    """The order asked for is the system's own: it is returned as it was."""
    STOPPED = 2
    """An iteration ran out of steps; the best iterate is returned."""
    REPAIRED = 3
    """The method's own result was unstable, or beyond float32; its poles were moved and its outputs fitted again."""
    FELL_BACK = 4
    """The method's own result was unusable; another method's result is returned."""
    PADDED = 5
    """The method could not fill the order (pairs into an odd one); the remaining state has no output."""
    LIMITED = 6
    """The modes cancel beyond float32, whose rounding counts beside the error: more states gain less than without it."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """Reduced systems and their figures.

    Attributes
    ----------
    system
        The reduced systems, of the batch shape of the originals.
    method
        Name in the registry.
    order
        States per reduced system.
    horizon
        Taps on which the errors count, None for the infinite horizon.
    error, relative_error
        ``(*batch,)`` float64: h2 norm of the difference, and its ratio to the original's h2 norm (feedthrough included).
    spectral_radius
        ``(*batch,)`` float64, of the reduced systems.
    outcomes
        ``(*batch,)`` int64, values of :class:`Outcome`.
    iterations
        ``(*batch,)`` int64, zero for direct methods.
    """

    system: System
    method: str
    order: int
    horizon: int | None
    error: Tensor
    relative_error: Tensor
    spectral_radius: Tensor
    outcomes: Tensor
    iterations: Tensor

    def __getitem__(self, index: int | slice) -> Reduction:
        """Select systems of the batch."""
        columns = (getattr(self, name)[index] for name in COLUMNS)
        return Reduction(self.system[index], self.method, self.order, self.horizon, *columns)

    @property
    def outcome_counts(self) -> dict[str, int]:
        """Systems by the way they ended, in lower-case names, without the ways that did not occur."""
        counts = {outcome.name.lower(): int((self.outcomes == outcome).sum()) for outcome in Outcome}
        return {name: count for name, count in counts.items() if count}


COLUMNS = ("error", "relative_error", "spectral_radius", "outcomes", "iterations")
"""Attributes of a :class:`Reduction` with one entry for each system."""


class Method(Protocol):
    """A reduction method: systems, order and horizon to a :class:`Reduction`.

    Requires stable finite systems of batch shape ``(channels,)`` and ``1 <= order < system.order``;
    ensures stable finite systems of that order.
    """

    def __call__(self, system: System, order: int, horizon: int | None) -> Reduction: ...


def summarise(
    original: System,
    reduced: System,
    method: str,
    horizon: int | None,
    outcomes: Tensor | Outcome = Outcome.CONVERGED,
    iterations: Tensor | None = None,
    energy: Tensor | None = None,
) -> Reduction:
    """Measure the errors of reduced systems and return the :class:`Reduction`.

    ``energy`` is :func:`proper_energy` of the original where it is known already.
    """
    original = original.paper_form()
    energy = proper_energy(original, horizon) if energy is None else energy
    error = h2_error(original, reduced, horizon, energy)
    norm = (energy + original.D.square().sum((-2, -1))).sqrt()
    zeros = torch.zeros(original.batch_shape, dtype=torch.int64)
    return Reduction(
        system=reduced,
        method=method,
        order=reduced.order,
        horizon=horizon,
        error=error,
        # A system that is zero everywhere is reduced without error.
        relative_error=torch.where(norm > 0, error / norm.where(norm > 0, torch.ones_like(norm)), error),
        spectral_radius=spectral_radius(reduced),
        outcomes=zeros + int(outcomes) if isinstance(outcomes, Outcome) else outcomes,
        iterations=zeros if iterations is None else iterations,
    )
