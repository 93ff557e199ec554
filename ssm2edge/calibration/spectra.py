"""Power spectra of the inputs of a bank's channels, and their cross spectra with the original's inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.calibration.signals import Place


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
    for u, u_original in place.pairs():
        length = u.shape[-1]
        U, U_original = (torch.fft.rfft(x.double(), n=2 * length) for x in (u, u_original))
        power = power + U.abs().square().sum(0)
        cross = cross + (U.conj() * U_original).sum(0)
        count += len(u)
    return Spectra(power / count, cross / count, length)
