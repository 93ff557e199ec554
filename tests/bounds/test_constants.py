"""Lipschitz constants: no slope exceeds them, and some slope comes close."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssm2edge.bounds import constants


@pytest.mark.parametrize("name", sorted(constants.ACTIVATIONS))
def test_no_slope_of_an_activation_exceeds_its_constant_and_the_steepest_attains_it(name: str) -> None:
    x = torch.linspace(-12, 12, 400001, dtype=torch.float64)
    function = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    slopes = function(x).diff().abs() / x.diff()
    assert float(slopes.max()) <= constants.ACTIVATIONS[name] * (1 + 1e-9)
    assert float(slopes.max()) >= constants.ACTIVATIONS[name] * (1 - 1e-6)
    if name in constants.VANISHING_AT_ZERO:
        assert bool((function(x).abs() <= x.abs()).all())


@pytest.mark.parametrize("peak", [0.1, 1.0, 2.5, 2.9, 10.0, 1000.0])
def test_gate_constant_is_the_largest_gradient(peak: float) -> None:
    a = torch.linspace(-peak, peak, 201, dtype=torch.float64)[:, None]
    s = torch.sigmoid(torch.linspace(-40, 40, 20001, dtype=torch.float64))
    steepest = float(torch.sqrt(s.square() + (a * s * (1 - s)).square()).max())
    assert steepest <= constants.glu(peak) * (1 + 1e-12)
    assert steepest >= constants.glu(peak) * (1 - 1e-5)


def test_gate_without_a_bound_has_no_constant() -> None:
    assert math.isinf(constants.glu(math.inf))


numbers = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(numbers, min_size=6, max_size=6), st.lists(numbers, min_size=6, max_size=6))
def test_layer_norm_moves_two_vectors_no_further_apart_than_over_their_mean_deviation(a: list[float], b: list[float]) -> None:
    eps = 1e-5

    def normalised(values: list[float]) -> tuple[Tensor, float]:
        x = torch.tensor(values, dtype=torch.float64)
        return torch.nn.functional.layer_norm(x, (6,), eps=eps), float(np.sqrt(np.var(values) + eps))

    (one, deviation), (other, more) = normalised(a), normalised(b)
    distance = float(np.linalg.norm(np.array(a) - np.array(b)))
    apart = float((one - other).norm())
    assert apart <= 2 * distance / (deviation + more) * (1 + 1e-9) + 1e-9
    assert apart <= 2 * math.sqrt(6) + 1e-9
