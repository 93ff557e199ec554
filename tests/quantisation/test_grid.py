"""Grids: integers and steps are found again by values alone, and nothing else passes for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ssm2edge.quantisation import steps_of
from ssm2edge.quantisation.grid import MOST, grid_of, group_of

WIDTHS = st.sampled_from([8, 24, 31, 40, 64, 96])


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.exp(3 * torch.randn(rows, 1, generator=generator, dtype=torch.float64))
    return sizes * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@given(bits=st.sampled_from([3, 4, 8]), rows=st.integers(1, 9), columns=WIDTHS, seed=st.integers(0, 99))
def test_rounded_numbers_are_found_again_to_the_last_bit(bits: int, rows: int, columns: int, seed: int) -> None:
    matrix = random_matrix(rows, columns, seed)
    rounded = steps_of(matrix, bits).nearest(matrix).float().numpy()
    found = grid_of(rounded, bits)
    assert found is not None
    assert np.array_equal(found.numbers(), rounded)
    assert found.integers.min() >= -MOST[bits]
    assert found.integers.max() <= min(MOST[bits], 2 ** (bits - 1) - 1)


@given(bits=st.sampled_from([3, 4, 8]), seed=st.integers(0, 99))
def test_trained_numbers_are_on_no_grid(bits: int, seed: int) -> None:
    assert grid_of(random_matrix(4, 32, seed).float().numpy(), bits) is None


@given(rows=st.integers(1, 9), columns=WIDTHS, seed=st.integers(0, 99))
def test_an_error_in_8_bits_is_half_a_step_at_most(rows: int, columns: int, seed: int) -> None:
    matrix = random_matrix(rows, columns, seed)
    steps = steps_of(matrix, 8)
    assert bool(((steps.nearest(matrix) - matrix).abs() <= steps.each / 2 * (1 + 1e-12)).all())
    assert bool((steps.sizes <= matrix.abs().amax(1, keepdim=True) / 127 * (1 + 2.0**-9)).all())


@given(rows=st.integers(1, 9), columns=WIDTHS, seed=st.integers(0, 99))
def test_8_bits_do_no_worse_than_4(rows: int, columns: int, seed: int) -> None:
    matrix = random_matrix(rows, columns, seed)
    errors = [(steps_of(matrix, bits).nearest(matrix) - matrix).square().sum() for bits in (8, 4)]
    assert errors[0] <= errors[1]


@example(rows=2, columns=8, seed=25)
@given(rows=st.integers(1, 5), columns=WIDTHS, seed=st.integers(0, 99))
def test_no_step_of_4_bits_is_worse_than_that_of_the_largest_number(rows: int, columns: int, seed: int) -> None:
    matrix = random_matrix(rows, columns, seed)
    groups = matrix.reshape(-1, group_of(columns, 4))
    step = groups.abs().amax(1, keepdim=True) / 7
    plain = ((groups / step).round() * step - groups).square().sum(1)
    found = (steps_of(matrix, 4).nearest(matrix) - matrix).reshape(groups.shape).square().sum(1)
    # Steps are rounded.
    assert bool((found <= 1.1 * plain).all())


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_of_zeros_has_integers_of_zero(bits: int) -> None:
    matrix = torch.zeros(3, 16, dtype=torch.float64)
    found = grid_of(steps_of(matrix, bits).nearest(matrix).float().numpy(), bits)
    assert found is not None
    assert not found.integers.any()


@pytest.mark.parametrize(("columns", "group"), [(64, 32), (48, 24), (40, 20), (6, 6), (37, 37), (33, 11)])
def test_groups_divide_rows(columns: int, group: int) -> None:
    assert group_of(columns, 4) == group
    assert group_of(columns, 8) == columns
