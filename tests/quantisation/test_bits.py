"""Bits of a weight are worth it where they save bytes of a graph, the nodes that write integers out included."""

from __future__ import annotations

import pytest
from torch import nn

from ssm2edge.calibration.bits_by_outputs import shared_out
from ssm2edge.quantisation import PLAIN, Weight, bits_of, levels_of, stored_bytes_of
from ssm2edge.quantisation.grid import MOST


def weight(rows: int, columns: int) -> Weight:
    return Weight("weight", nn.Linear(columns, rows))


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (16, 8), (16, 16), (32, 32), (64, 16), (128, 128)])
def test_fewer_bits_are_fewer_bytes(rows: int, columns: int) -> None:
    one = weight(rows, columns)
    levels = (*levels_of(one, MOST), PLAIN)
    sizes = [stored_bytes_of(one, bits) for bits in levels]
    assert levels == tuple(sorted(levels))
    assert sizes == sorted(set(sizes))
    assert sizes[0] == min(stored_bytes_of(one, bits) for bits in (*MOST, PLAIN))


def test_small_weights_stay_float32_and_large_ones_have_all_levels() -> None:
    assert levels_of(weight(8, 8), MOST) == ()
    assert levels_of(weight(128, 128), MOST) == (3, 4, 8)
    assert bits_of({"small": weight(8, 8), "large": weight(128, 128)}, "auto") == {"large": 8}
    assert bits_of({"small": weight(8, 8)}, "int4") == {"small": 4}


def test_a_weight_without_levels_has_no_bits_and_costs_nothing() -> None:
    assert shared_out({"small": {}, "large": {4: 1e-3, 8: 1e-5}}, {"small": 64, "large": 4096}, 1e-2) == {"large": 4}
