"""Stability of modal systems: where the poles lie, and how to bring strayed ones back into the unit disc."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.systems.system import System


def spectral_radius(system: System) -> Tensor:
    """Return the largest pole modulus of each system, ``(*batch,)`` float64."""
    return system.poles.abs().amax(-1)


def is_stable(system: System) -> Tensor:
    """Return whether all poles lie strictly inside the unit disc, ``(*batch,)`` bool; NaN counts as unstable."""
    return spectral_radius(system) < 1


def with_poles_inside(system: System) -> System:
    """Return systems of the same shape whose poles lie inside the unit disc: the same ones if they are stable."""
    return system if bool(is_stable(system).all()) else replace(system, poles=into_disc(system.poles), tie=None)


def into_disc(poles: Tensor, radius: float = 1 - 1e-6) -> Tensor:
    """Return poles inside the disc of the given radius.

    A pole outside the unit disc is reflected, ``1 / conj(pole)``, which keeps the magnitude of its frequency response up to a
    factor; what then still lies outside ``radius`` is scaled onto it.  Conjugate pairs stay conjugate.
    """
    modulus = poles.abs()
    outside = modulus > 1
    reflected = torch.where(outside, 1 / torch.where(outside, poles.conj(), torch.ones_like(poles)), poles)
    modulus = reflected.abs()
    return torch.where(modulus > radius, reflected * (radius / modulus.clamp_min(radius)), reflected)
