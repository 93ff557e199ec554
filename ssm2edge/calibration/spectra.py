"""Power spectra of the inputs of a bank's channels, and their cross spectra with the original's inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.calibration.signals import Place
from ssm2edge.workers import workers


@dataclass(frozen=True, eq=False)
class Spectra:
    """Second moments of inputs, per channel, at the frequencies ``pi f / length``, f = 0 .. length.

    Attributes
    ----------
    power
        ``(channels, length + 1)`` float64: mean of ``|U|^2``, U the transform of the inputs of the reduced model's layer,
        padded to twice their length.
    cross
        ``(channels, length + 1)`` complex128: mean of ``conj(U) U_original``, U_original that of the original's inputs.
    length
        Samples in time.
    """

    power: Tensor
    cross: Tensor
    length: int

    def __getitem__(self, channels: slice, /) -> Spectra:
        return Spectra(self.power[channels], self.cross[channels], self.length)


def gather_spectra(place: Place) -> Spectra:
    """Return the spectra of all inputs of a layer."""
    power, cross, count, length = torch.zeros(()), torch.zeros(()), 0, 0
    with workers() as pool:
        for of_pair, across, rows, steps in pool.map(_sums, place.pairs()):
            power, cross, count, length = power + of_pair, cross + across, count + rows, steps
    return Spectra(power / count, cross / count, length)


def _sums(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, int, int]:
    """Sum up over the samples one by one: their transforms take four times the memory of the inputs."""
    inputs, originals = pair
    length = inputs.shape[-1]
    power = torch.zeros(*inputs.shape[1:-1], length + 1, dtype=torch.float64)
    cross = power.to(torch.complex128)
    with torch.no_grad():
        for u, u_original in zip(inputs, originals, strict=True):
            U = torch.fft.rfft(u.double(), n=2 * length)
            power += U.abs().square()
            cross += U.conj() * (U if originals is inputs else torch.fft.rfft(u_original.double(), n=2 * length))
    return power, cross, len(inputs), length
