"""What the rules need of an LTI layer, of what takes its place, and of the difference: gains, each computed once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.gains import Gains, error_gains, gains
from ssm2edge.bounds.matrix_gains import MatrixGains
from ssm2edge.systems.norms import difference
from ssm2edge.systems.system import System

Norm = Literal["hinf", "h2"]


@dataclass(frozen=True, eq=False)
class SisoGains:
    """Gains of one layer's bank: of the original, of the reduced one, and of the difference.

    Attributes
    ----------
    original, reduced
        Of the two banks.
    injected
        ``(channels,)`` gain from the root mean square of the input to that of the difference of the outputs.
    """

    original: Gains
    reduced: Gains
    injected: Tensor

    @property
    def error(self) -> float:
        """Largest gain of the difference over the channels."""
        return float(self.injected.max())


@dataclass(frozen=True, eq=False)
class MimoGains:
    """Gains of one layer of many inputs and outputs: of the original, of the reduced one, and of the difference.

    Attributes
    ----------
    original, reduced, difference
        Of the linear parts.
    steps
        None, or the longest sequence: the difference is then measured in h2.
    """

    original: MatrixGains
    reduced: MatrixGains
    difference: MatrixGains
    steps: int | None

    def injected(self, inputs: Tensor) -> float:
        """Gain from the root mean square of n, with inputs ``S n``, to that of the difference of the outputs.

        Parameters
        ----------
        inputs
            S, ``(inputs, d)`` float64.
        """
        if self.steps is None:
            return self.difference.energy(inputs)
        # |e[k]| <= h2 ||n||_2 at every step, and ||n||_2 is sqrt(length) times the root mean square.
        return self.difference.h2(inputs) * math.sqrt(self.steps)

    @property
    def error(self) -> float:
        """Gain of the difference."""
        return self.injected(torch.eye(self.difference.system.inputs, dtype=torch.float64))


LayerGains = SisoGains | MimoGains


class NetworkGains:
    """Gains of original and reduced layers, each pair computed once.

    Parameters
    ----------
    original
        Systems of the layers.
    horizon
        Longest sequence in samples; None for any length.

    Raises
    ------
    BoundError
        If a layer is not stable.
    """

    def __init__(self, original: Mapping[str, System], horizon: int | None) -> None:
        self.horizon = horizon
        self._systems = dict(original)
        self._own: dict[str, Gains | MatrixGains] = {name: _gains_of(name, system, horizon) for name, system in original.items()}
        self._pairs: dict[tuple[str, int], tuple[System, Gains | MatrixGains, Gains | MatrixGains]] = {}

    def of(self, name: str, reduced: System, norm: Norm) -> LayerGains:
        """Gains of a layer, of what takes its place, and of the difference."""
        if norm == "h2" and self.horizon is None:
            raise BoundError("The h2 form of the output bound needs a finite horizon.")
        steps = None if norm == "hinf" or self.horizon is None else self.horizon + 1
        key = (name, id(reduced))
        if key not in self._pairs:
            # The system is kept with its gains: its id stays its own.
            self._pairs[key] = (reduced, _gains_of(name, reduced, self.horizon), self._difference(name, reduced))
        original, (_, own, error) = self._own[name], self._pairs[key]
        if isinstance(original, MatrixGains):
            assert isinstance(own, MatrixGains)
            assert isinstance(error, MatrixGains)
            return MimoGains(original, own, error, steps)
        assert isinstance(own, Gains)
        assert isinstance(error, Gains)
        # As in MimoGains.injected.
        return SisoGains(original, own, error.energy if steps is None else error.h2 * math.sqrt(steps))

    def _difference(self, name: str, reduced: System) -> Gains | MatrixGains:
        original = self._systems[name]
        if original.batch_shape:
            return error_gains(original, reduced, self.horizon)
        return MatrixGains(difference(original, reduced), self.horizon)


def _gains_of(name: str, system: System, horizon: int | None) -> Gains | MatrixGains:
    if system.M is not None:
        raise BoundError(f"Layer {name or '(the model)'}: the output bound has no rule for quadratic outputs.")
    try:
        return gains(system, horizon) if system.batch_shape else MatrixGains(system, horizon)
    except BoundError as reason:
        raise BoundError(f"Layer {name or '(the model)'}: {reason}") from reason
