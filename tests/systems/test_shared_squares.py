"""Quadratic forms as sums of shared squares: the sums are the forms, with as few squares as there were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssm2edge.systems.quadratic import NUMERICAL_RANK, squares_of


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summed(V: Tensor, W: Tensor) -> Tensor:
    return torch.stack([V.mT @ torch.diag(weights) @ V for weights in W])


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("n", "rank", "outputs"), [(6, 1, 3), (6, 3, 4), (6, 6, 8), (40, 8, 16)])
def test_shared_directions_are_found_again(n: int, rank: int, outputs: int) -> None:
    M = summed(normal(0, rank, n), normal(1, outputs, rank))
    V, W = squares_of(M)
    assert V.shape == (rank, n)
    assert relative(summed(V, W), M) < 1e-7


@pytest.mark.parametrize("order", [8, 12])
def test_projected_forms_keep_their_number_of_squares(order: int) -> None:
    T = normal(2, 40, order)
    M = summed(normal(0, 8, 40), normal(1, 16, 8))
    V, W = squares_of(T.mT @ M @ T)
    assert len(V) == 8
    assert relative(summed(V, W), T.mT @ M @ T) < 1e-7


@pytest.mark.parametrize(("squares", "n", "outputs"), [(8, 5, 8), (6, 4, 9), (32, 12, 64), (32, 26, 40)])
def test_projected_forms_keep_more_squares_than_they_have_variables(squares: int, n: int, outputs: int) -> None:
    T = normal(2, 40, n)
    M = T.mT @ summed(normal(0, squares, 40), normal(1, outputs, squares)) @ T
    V, W = squares_of(M)
    assert V.shape == (squares, n)
    assert relative(summed(V, W), M) < 1e-7


def test_squares_of_directions_that_all_but_meet_are_told_apart() -> None:
    V = normal(0, 9, 6)
    V[1] = V[0] + 0.03 * V[1]
    M = summed(V, normal(1, 12, 9))
    found, W = squares_of(M)
    assert len(found) == 9
    assert relative(summed(found, W), M) < 1e-7


def test_more_squares_than_are_determined_are_all_products() -> None:
    M = summed(normal(0, 9, 4), normal(1, 12, 9))
    V, W = squares_of(M)
    assert len(V) == 10
    assert relative(summed(V, W), M) < 1e-7


@pytest.mark.parametrize("seed", range(8))
def test_forms_with_whole_planes_of_squares_take_no_more_than_their_ranks_or_all_products(seed: int) -> None:
    # Any three squares of two variables span all their squares.
    M = summed(normal(seed, 7, 2) @ normal(seed + 20, 2, 4), normal(seed + 40, 9, 7))
    V, W = squares_of(M)
    assert len(V) <= 10
    assert relative(summed(V, W), M) < 1e-7


def test_small_forms_that_add_up_bring_no_square() -> None:
    V, v = torch.nn.functional.normalize(normal(0, 9, 5)), torch.nn.functional.normalize(normal(3, 1, 5))
    M = torch.cat(
        (summed(V, torch.eye(9, dtype=torch.float64)), summed(v, 0.9 * NUMERICAL_RANK * torch.ones(16, 1, dtype=torch.float64)))
    )
    found, W = squares_of(M)
    assert len(found) == 9
    assert relative(summed(found, W), M) < 1e-7


@pytest.mark.parametrize(("squares", "n"), [(6, 6), (9, 6), (10, 4)])
def test_the_same_forms_have_the_same_squares_to_the_bit(squares: int, n: int) -> None:
    M = summed(normal(0, squares, n), normal(1, 12, squares))
    first = squares_of(M)
    for _ in range(20):
        assert all(torch.equal(one, other) for one, other in zip(squares_of(M), first, strict=True))


@pytest.mark.parametrize(("n", "outputs", "most"), [(5, 2, 10), (3, 9, 6), (1, 4, 1)])
def test_forms_without_common_directions_take_no_more_than_their_ranks_or_all_products(n: int, outputs: int, most: int) -> None:
    M = normal(3, outputs, n, n)
    M = M + M.mT
    V, W = squares_of(M)
    assert len(V) <= most
    assert relative(summed(V, W), M) < 1e-7


def test_one_form_takes_its_rank() -> None:
    M = summed(normal(0, 2, 5), normal(1, 1, 2))
    V, W = squares_of(M)
    assert len(V) == 2
    assert relative(summed(V, W), M) < 1e-7


def test_zero_takes_nothing() -> None:
    V, W = squares_of(torch.zeros(3, 4, 4, dtype=torch.float64))
    assert (V.shape, W.shape) == ((0, 4), (3, 0))
