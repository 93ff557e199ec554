"""Outputs of one system of many inputs and outputs, fitted to the original's outputs on the samples.

Poles and input map stay; output map, feedthrough and the weights of the squares solve one least-squares problem whose normal
equations are summed up over the samples.  Where the feedthrough is a diagonal, each output has one unknown of its own beside
those of the features that all mix; it is eliminated by its Schur complement.  The poles come from a reduction for inputs of the
measured covariance: with ``Sigma = E[u u^T]``, reducing (A, B Sigma^(1/2), C) is h2-optimal for white noise of covariance Sigma.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.calibration.signals import Place
from ssm2edge.layers import ReducedMimo
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.division import TINY
from ssm2edge.systems.stability import is_stable
from ssm2edge.systems.system import System, stack

QUIET = 1e-6
"""Directions of the input with less than this share of the largest variance are taken to have that share."""

RIDGE = 1e-7
"""Weight that holds coefficients at the reduction's own values if the samples do not determine them."""


def calibrated_mimo(place: Place, system: System, reduced: System, method: str) -> System:
    """Return a system of the reduced order that errs least on the samples, of two candidates with outputs fitted to them.

    Parameters
    ----------
    place
        The layer, with those below it reduced already.
    system, reduced
        The layer's original system, and a reduction of it.
    method
        Reduction method for the second candidate, which is the reduction for the measured covariance of the inputs.
    """
    covariance = second_moments(u.double().flatten(0, -2) for u in place.inputs())
    # An unstable original is one on the sequences of the samples.
    horizon = None if bool(is_stable(system)) else next(iter(place.inputs())).shape[-2]
    candidates = [reduced, _for_covariance(system, reduced.order, covariance, method, horizon)]
    answering = ReducedMimo.standing_for(system)
    return min((_with_fitted_outputs(candidate, answering, place) for candidate in candidates), key=lambda pair: pair[1])[0]


def all_features(block: ReducedMimo, u: Tensor) -> Tensor:
    """Return the features that outputs are linear in, the inputs included if there is a skip, ``(rows, features)`` float64."""
    with torch.no_grad():
        features = block.features(u) if block.skip is None else torch.cat((block.features(u), u), dim=-1)
    return features.double().flatten(0, 1)


def second_moments(rows: Iterable[Tensor]) -> Tensor:
    """Return the mean product of rows with themselves, from batches of them."""
    total, count = torch.zeros(()), 0
    for batch in rows:
        total, count = total + batch.mT @ batch, count + len(batch)
    return total / count


def _for_covariance(system: System, order: int, covariance: Tensor, method: str, horizon: int | None) -> System:
    variances, directions = torch.linalg.eigh(covariance)
    variances = variances.clamp_min(QUIET * float(variances.max()) + TINY)
    root = (directions * variances.sqrt()) @ directions.mT
    back = (directions / variances.sqrt()) @ directions.mT
    coloured = replace(system, B=system.B @ root.to(system.B), D=torch.zeros_like(system.D))
    reduced = reduce_system(stack([coloured]), order, method, horizon).system[0]
    return replace(reduced, B=reduced.B @ back.to(reduced.B), D=reduced.D @ back + system.D)


def _with_fitted_outputs(candidate: System, answering: ReducedMimo, place: Place) -> tuple[System, float]:
    block = ReducedMimo(candidate)
    gram = right = energy = torch.zeros(())
    for u, u_original in place.pairs():
        features = all_features(block, u)
        with torch.no_grad():
            wanted = answering(u_original).double().flatten(0, 1)
        gram, right, energy = gram + features.mT @ features, right + features.mT @ wanted, energy + wanted.square().sum()
    start = block.coefficients().detach().double().mT
    shared = len(start)
    if block.skip is not None:
        start = torch.cat((start, torch.diag(block.skip.detach().double())))
    coefficients = start + _step(gram, right - gram @ start, shared)
    error = energy - 2 * (coefficients * right).sum() + (coefficients * (gram @ coefficients)).sum()
    with torch.no_grad():
        block.set_coefficients(coefficients[:shared].mT, coefficients[shared:].diagonal())
    return block.system(), float(error)


def _step(gram: Tensor, residual: Tensor, shared: int) -> Tensor:
    """Solve for the coefficients of shared features, and of those behind them, of which each output has one of its own."""
    gram = gram + torch.diag(RIDGE * gram.diagonal() + TINY)
    mixed, crossed, own = gram[:shared, :shared], gram[:shared, shared:], gram.diagonal()[shared:]
    solved: Tensor = torch.linalg.lstsq(mixed, torch.cat((residual[:shared], crossed), dim=1), driver="gelsd").solution
    step, projection = solved[:, : residual.shape[1]], solved[:, residual.shape[1] :]
    if not len(own):
        return step
    left = (own - (crossed * projection).sum(0)).clamp_min(RIDGE * own)
    skip = (residual[shared:].diagonal() - (crossed * step).sum(0)) / left
    return torch.cat((step - projection * skip, torch.diag(skip)))
