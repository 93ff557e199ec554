"""Power spectra of the inputs of a bank's channels, and their cross spectra with the original's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ssm2edge.calibration.signals import Place
from ssm2edge.workers import workers

BLOCK = 1 << 16
"""Numbers that are transformed at a time."""


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
    """Sum up over the samples one by one, a few channels at a time: their transforms stay in the processor's cache."""
    inputs, originals = (u.flatten(1, -2) for u in pair)
    count, channels, length = inputs.shape
    # What enters the first layer is the same in both networks.
    same = pair[0] is pair[1] or torch.equal(inputs, originals)
    power = torch.zeros(channels, length + 1, dtype=torch.float64)
    cross = power.to(torch.complex128)
    spans = [slice(start, start + max(1, BLOCK // length)) for start in range(0, channels, max(1, BLOCK // length))]
    with torch.no_grad():
        for sample, span in product(range(count), spans):
            U = _transformed(inputs[sample, span])
            squares = torch.view_as_real(U).square().sum(-1)
            power[span] += squares
            cross[span] += squares if same else U.conj() * _transformed(originals[sample, span])
    shape = (*pair[0].shape[1:-1], length + 1)
    return power.view(shape), cross.view(shape), count, length


def _transformed(u: Tensor) -> Tensor:
    U: Tensor = torch.fft.rfft(u.to(torch.float64, memory_format=torch.contiguous_format), n=2 * u.shape[-1])
    return U
