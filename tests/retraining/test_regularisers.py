"""Regularisers of the user's own training: their values by brute force, their derivatives by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.digits.model import make as make_s4d
from models.f16.model import make as make_lru
from ssm2edge.errors import UserError
from ssm2edge.layers import S5, LayerError, find_layers, replace_layers
from ssm2edge.retraining import hankel_nuclear_norm, modal_l1
from ssm2edge.retraining.hankel_nuclear_norm import hankel_sums
from ssm2edge.systems.dense import to_dense
from ssm2edge.systems.system import System
from tests.layers.test_dss import layer_of as dss
from tests.package_models import LRUNetwork, S5Network
from tests.published_s4 import make as make_s4
from tests.random_banks import random_bank
from tests.random_mimo import random_mimo

REGULARISERS = (modal_l1, hankel_nuclear_norm)


def hankel_matrix(system: System, taps: int) -> NDArray[np.float64]:
    """The block Hankel matrix of the taps after the feedthrough, those behind the last being zero."""
    dense = to_dense(system)
    A, B, C = (x.numpy() for x in (dense.A, dense.B, dense.C))
    after = [C @ np.linalg.matrix_power(A, k) @ B for k in range(taps)]
    silent = np.zeros_like(after[0])
    return np.block([[after[i + j] if i + j < taps else silent for j in range(taps)] for i in range(taps)])


def exact(model: nn.Module) -> nn.Module:
    """The model in double precision; ``double`` leaves complex parameters as they are."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.complex128 if parameter.is_complex() else torch.float64)
    return model


def stacked(layers: int) -> nn.Module:
    torch.manual_seed(3)
    return make_s4d(channels=3, states=6, layers=layers)


def networks() -> dict[str, Callable[[], nn.Module]]:
    return {
        "S4D": lambda: stacked(2),
        "LRU": lambda: make_lru(width=3, modes=4, layers=2),
        "lru-pytorch": LRUNetwork,
        "s5-pytorch": S5Network,
        "S5 in two directions": lambda: S5(3, 4, bidirectional=True),
        "S4, diagonal": lambda: make_s4(width=3, depth=1, d_state=6),
        "DSS": lambda: dss(version="exp"),
        "S4, low rank": lambda: make_s4(width=3, depth=1, d_state=6, rank=1),
    }


@pytest.mark.parametrize(
    "system", [random_mimo(5, 2, 3, radius=0.8), random_bank(1, 6, seed=2, largest=0.8)[0]], ids=["MIMO", "SISO"]
)
def test_the_sum_is_that_of_the_singular_values_of_the_hankel_matrix(system: System) -> None:
    found = float(hankel_sums(system))
    assert found == pytest.approx(np.linalg.svd(hankel_matrix(system, 120), compute_uv=False).sum(), rel=1e-9)


def test_the_sum_agrees_with_lyapunov_equations() -> None:
    system = random_mimo(6, 3, 2, seed=4, radius=0.97)
    dense = to_dense(system)
    A, B, C = (x.numpy() for x in (dense.A, dense.B, dense.C))
    P, Q = scipy.linalg.solve_discrete_lyapunov(A, B @ B.T), scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C)
    assert float(hankel_sums(system)) == pytest.approx(np.sqrt(np.linalg.eigvals(P @ Q).real).sum(), rel=1e-9)


@pytest.mark.parametrize("regulariser", REGULARISERS)
@pytest.mark.parametrize("make", networks().values(), ids=networks())
def test_derivatives_are_finite_differences(make: Callable[[], nn.Module], regulariser: Callable[[nn.Module], Tensor]) -> None:
    torch.manual_seed(0)
    model = exact(make())
    regulariser(model).backward()
    touched = [parameter for parameter in model.parameters() if parameter.grad is not None]
    assert touched
    torch.manual_seed(1)
    directions = [torch.randn_like(parameter) for parameter in touched]
    along = sum(float((p.grad.conj() * d).real.sum()) for p, d in zip(touched, directions, strict=True))
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(touched, directions, strict=True):
                parameter.add_(sign * step * direction)
            values.append(float(regulariser(model)))
    assert along == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("regulariser", REGULARISERS)
def test_layers_count_alike_and_add_up(regulariser: Callable[[nn.Module], Tensor]) -> None:
    whole = stacked(3)
    parts = [regulariser(layer).item() for layer in whole.layers]  # type: ignore[union-attr,operator]  # a list of modules
    assert regulariser(whole).item() == pytest.approx(sum(parts), rel=1e-12)


def test_the_modal_one_is_the_mean_modulus() -> None:
    model = stacked(1)
    (layer,) = find_layers(model)
    assert modal_l1(model).item() == pytest.approx(np.abs(layer.system.poles.numpy()).mean(), rel=1e-12)


def test_the_hankel_one_is_a_mean_over_channels_and_states() -> None:
    model = stacked(1)
    (layer,) = find_layers(model)
    means = []
    for channel in range(3):
        dense = to_dense(layer.system[channel])
        A, B, C = (x.numpy() for x in (dense.A, dense.B, dense.C))
        P, Q = scipy.linalg.solve_discrete_lyapunov(A, B @ B.T), scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C)
        means.append(np.sqrt(np.linalg.eigvals(P @ Q).real.clip(0)).mean())
    assert hankel_nuclear_norm(model).item() == pytest.approx(np.mean(means), rel=1e-6)


def test_training_on_it_leaves_less_to_reduce() -> None:
    torch.manual_seed(0)
    model = make_lru(width=3, modes=6, layers=1, hidden=4)
    before = hankel_nuclear_norm(model).item()
    for _ in range(5):
        parameters = list(model.layers[0].lru.parameters())
        gradients = torch.autograd.grad(hankel_nuclear_norm(model), parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(0.1 * gradient)
    assert hankel_nuclear_norm(model).item() < 0.8 * before


def test_a_finite_horizon_takes_unstable_layers_and_the_infinite_one_names_them() -> None:
    model = make_lru(width=3, modes=4, layers=2)
    with torch.no_grad():
        model.layers[1].lru.nu_log.fill_(-torch.inf)
    with pytest.raises(UserError, match=r"layers\.1\.lru is not stable"):
        hankel_nuclear_norm(model)
    assert torch.isfinite(hankel_nuclear_norm(model, horizon=20))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_whole_numbers_of_numpy_are_numbers_of_taps(kind: Callable[[int], int]) -> None:
    model = stacked(1)
    assert hankel_nuclear_norm(model, kind(20)).item() == hankel_nuclear_norm(model, 20).item()


@pytest.mark.parametrize("horizon", [0, -1, 2.5, "inf", True, np.int64(0), np.float64(4)])
def test_a_horizon_that_is_no_number_of_taps_is_refused(horizon: Any) -> None:
    with pytest.raises(UserError, match="no number of taps"):
        hankel_nuclear_norm(stacked(1), horizon)


def test_layers_without_derivatives_are_named() -> None:
    original = stacked(2)
    small = replace_layers(original, {layer.name: layer.system for layer in find_layers(original)})
    with pytest.raises(LayerError, match=r"layers\.0.* without derivatives"):
        modal_l1(small)
    with pytest.raises(LayerError, match="no layer"):
        modal_l1(nn.Linear(2, 2))


def test_finding_layers_keeps_no_derivatives() -> None:
    for make in networks().values():
        assert not any(x.requires_grad for layer in find_layers(make()) for x in layer.system.arrays())


def test_frozen_layers_are_read_as_they_are() -> None:
    model = stacked(1).requires_grad_(False)
    assert not modal_l1(model).requires_grad
    assert not hankel_nuclear_norm(model).requires_grad


@pytest.mark.parametrize("regulariser", [hankel_nuclear_norm, modal_l1])
def test_what_is_no_module_has_no_regulariser(regulariser: Callable[..., Tensor]) -> None:
    with pytest.raises(LayerError, match="NoneType; give a torch"):
        regulariser(None)
