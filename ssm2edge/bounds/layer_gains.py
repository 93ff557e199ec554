"""Gains of an LTI layer, of the reduced one, and of the difference, each computed once."""

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
from ssm2edge.bounds.squares import Squares, line_up, squares_in
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
class MatrixPair:
    """Gains of a linear system of many inputs and outputs, of the reduced one, and of the difference.

    Attributes
    ----------
    original, reduced, difference
        Of the three.
    steps
        None, or the longest sequence: the difference is then measured in h2.
    """

    original: MatrixGains
    reduced: MatrixGains
    difference: MatrixGains
    steps: int | None

    def injected(self, inputs: Tensor) -> float:
        """Return the gain from the root mean square of n, with inputs ``S n``, to that of the difference of the outputs.

        Parameters
        ----------
        inputs
            S, ``(inputs, d)`` float64.
        """
        if self.steps is None:
            return self.difference.energy(inputs)
        # |e[k]| <= h2 ||n||_2 at every step, and ||n||_2 is sqrt(length) times the root mean square.
        return self.difference.h2(inputs) * math.sqrt(self.steps)

    def weighted(self, weights: Tensor) -> MatrixPair:
        """Return the gains with factors ``(outputs,)`` for the outputs."""
        original, reduced, difference = (gains.weighted(weights) for gains in (self.original, self.reduced, self.difference))
        return MatrixPair(original, reduced, difference, self.steps)


@dataclass(frozen=True, eq=False)
class SquaresPair:
    """The quadratic outputs of a layer and of the reduced one, their squares lined up.

    Attributes
    ----------
    original, reduced
        Their squares.
    factors
        Gains of the squared signals.
    states
        Gains of the states of both, on which the remainders of the quadratic forms act.
    """

    original: Squares
    reduced: Squares
    factors: MatrixPair
    states: tuple[MatrixGains, MatrixGains]


@dataclass(frozen=True, eq=False)
class MimoGains:
    """Gains of one layer of many inputs and outputs.

    Attributes
    ----------
    linear
        Of its linear outputs.
    squares
        Of its quadratic ones; None if it has none.
    """

    linear: MatrixPair
    squares: SquaresPair | None

    @property
    def error(self) -> float:
        """Gain of the difference of the linear outputs."""
        return self.linear.injected(torch.eye(self.linear.difference.system.inputs, dtype=torch.float64))


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
        If a layer is not stable, or a bank of other than linear SISO channels.
    """

    def __init__(self, original: Mapping[str, System], horizon: int | None) -> None:
        self.horizon = horizon
        self._systems = dict(original)
        for name, system in original.items():
            _check(name, system)
        self._banks = {name: gains(system, horizon) for name, system in original.items() if system.batch_shape}
        self._matrices = {name: MatrixGains(system, horizon) for name, system in original.items() if not system.batch_shape}
        self._squares = {name: squares_in(system) for name, system in original.items() if system.M is not None}
        self._pairs: dict[tuple[str, int, int | None], tuple[System, LayerGains]] = {}

    def of(self, name: str, reduced: System, norm: Norm) -> LayerGains:
        """Return the gains of a layer, of the reduced one, and of the difference."""
        if norm == "h2" and self.horizon is None:
            raise BoundError("The h2 form of the output bound needs a finite horizon.")
        steps = None if norm == "hinf" or self.horizon is None else self.horizon + 1
        key = (name, id(reduced), steps)
        if key not in self._pairs:
            _check(name, reduced)
            made = self._bank(name, reduced, steps) if reduced.batch_shape else self._mimo(name, reduced, steps)
            # The system is kept with its gains: its id stays its own.
            self._pairs[key] = (reduced, made)
        return self._pairs[key][1]

    def _bank(self, name: str, reduced: System, steps: int | None) -> SisoGains:
        error = error_gains(self._systems[name], reduced, self.horizon)
        # As in MatrixPair.injected.
        injected = error.energy if steps is None else error.h2 * math.sqrt(steps)
        return SisoGains(self._banks[name], gains(reduced, self.horizon), injected)

    def _mimo(self, name: str, reduced: System, steps: int | None) -> MimoGains:
        own = MatrixGains(reduced, self.horizon)
        error = MatrixGains(self._systems[name] - reduced, self.horizon)
        linear = MatrixPair(self._matrices[name], own, error, steps)
        if name not in self._squares and reduced.M is None:
            return MimoGains(linear, None)
        original = self._squares[name] if name in self._squares else squares_in(self._systems[name])
        one, other = line_up(original, squares_in(reduced), self.horizon)
        if not one.mixing.shape[1]:
            return MimoGains(linear, None)
        systems = (one.factors, other.factors, one.factors - other.factors, one.states, other.states)
        of_one, of_other, of_difference, *states = (MatrixGains(system, self.horizon) for system in systems)
        factors = MatrixPair(of_one, of_other, of_difference, steps)
        return MimoGains(linear, SquaresPair(one, other, factors, (states[0], states[1])))


def _check(name: str, system: System) -> None:
    if system.batch_shape and not (system.is_siso and system.M is None):
        raise BoundError(f"The output bound takes linear SISO channels in banks; those of {name or 'the model'} are others.")
    if system.order and not float(system.poles.abs().max()) < 1:
        raise BoundError(f"The output bound needs stable layers; a pole of {name or 'the model'} is not inside the unit circle.")
