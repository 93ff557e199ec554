"""Quadratic outputs written as squares are the same outputs, in whatever order the squares come."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ssm2edge.bounds.squares import Squares, line_up, squares_in
from ssm2edge.systems.dense import to_modal
from ssm2edge.systems.response import simulate
from ssm2edge.systems.system import System
from tests.random_mimo import random_dense, random_mimo

STEPS = 25


def inputs_of(system: System) -> Tensor:
    return torch.randn(system.inputs, STEPS, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def quadratic_part(system: System) -> Tensor:
    """By the recurrence: what the quadratic forms add."""
    u = inputs_of(system)
    return simulate(system, u)[0] - simulate(replace(system, M=None), u)[0]


def computed(squares: Squares, system: System) -> Tensor:
    z, _ = simulate(squares.factors, inputs_of(system))
    return squares.mixing @ z.square()


@pytest.mark.parametrize(("order", "squares"), [(1, 1), (2, 4), (5, 2), (6, 3)])
def test_squares_add_what_the_forms_add(order: int, squares: int) -> None:
    system = random_mimo(order, 3, 4, seed=order, quadratic=squares)
    found = squares_in(system)
    torch.testing.assert_close(computed(found, system), quadratic_part(system), rtol=1e-9, atol=1e-9)


def test_forms_that_share_no_squares_are_written_out_and_what_is_left_is_bounded() -> None:
    dense = random_dense(4, 2, 3, seed=1)
    M = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    # A form far below the others' rounding is left out by the squares, and not by the remainder.
    M = (M + M.mT) / 2 * torch.tensor([1.0, 1.0, 1e-9], dtype=torch.float64)[:, None, None]
    system = to_modal(replace(dense, M=M))
    found = squares_in(system)
    x, _ = simulate(found.states, inputs_of(system))
    error = (computed(found, system) - quadratic_part(system)).norm(dim=0)
    assert float(error.max()) > 0
    assert bool((error <= found.remainder * x.square().sum(0) * (1 + 1e-6) + 1e-14).all())


def test_layers_without_forms_have_no_squares() -> None:
    found = squares_in(random_mimo(4, 2, 3))
    assert found.mixing.shape == (3, 0)
    assert found.remainder == 0


def test_squares_in_another_order_scale_and_sign_are_lined_up() -> None:
    system = random_mimo(6, 3, 4, seed=3, quadratic=3)
    one = squares_in(system)
    order, factors = torch.tensor([2, 0, 1]), torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    other = replace(
        one,
        factors=replace(one.factors, C=factors[:, None] * one.factors.C[order]),
        mixing=one.mixing[:, order] / factors.square(),
    )
    kept, lined_up = line_up(one, other, None)
    torch.testing.assert_close(lined_up.factors.C, kept.factors.C)
    torch.testing.assert_close(lined_up.mixing, kept.mixing)
    torch.testing.assert_close(computed(kept, system), quadratic_part(system))


@pytest.mark.parametrize("horizon", [20, None])
def test_lining_up_changes_neither_layer_however_many_squares_each_has(horizon: int | None) -> None:
    one, other = random_mimo(6, 3, 4, seed=4, quadratic=3), random_mimo(3, 3, 4, seed=5, quadratic=1)
    for first, second in ((one, other), (other, one)):
        lined_up = line_up(squares_in(first), squares_in(second), horizon)
        assert lined_up[0].mixing.shape == lined_up[1].mixing.shape
        for squares, system in zip(lined_up, (first, second), strict=True):
            torch.testing.assert_close(computed(squares, system), quadratic_part(system), rtol=1e-8, atol=1e-8)
