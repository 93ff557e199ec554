"""Distributing states: what dynamic programming finds is what trying everything finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm2edge.orders.distribution import CostCurve, distribute, states, uniform_orders
from tests.random_banks import random_bank


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.lists(st.floats(0, 100), min_size=1, max_size=6)), min_size=1, max_size=3),
    st.integers(0, 40),
)
def test_no_distribution_within_the_budget_costs_less(layers: list[tuple[int, list[float]]], extra: int) -> None:
    curves = {f"layer {i}": CostCurve(tuple(range(1, len(c) + 1)), tuple(c)) for i, (_, c) in enumerate(layers)}
    widths = {f"layer {i}": width for i, (width, _) in enumerate(layers)}
    budget = sum(widths.values()) + extra
    every = {name: curve.at_every_order() for name, curve in curves.items()}

    def cost(orders: dict[str, int]) -> float:
        return float(sum(every[name][order - 1] for name, order in orders.items()))

    found = distribute(curves, widths, budget)
    assert states(found, widths) <= budget
    assert all(1 <= found[name] <= len(every[name]) for name in curves)
    everything = (
        dict(zip(curves, orders, strict=True)) for orders in itertools.product(*(range(1, len(e) + 1) for e in every.values()))
    )
    assert cost(found) <= min(cost(o) for o in everything if states(o, widths) <= budget) * (1 + 1e-12)


def test_costs_between_known_orders_lie_between_theirs_and_never_rise() -> None:
    curve = CostCurve((1, 2, 5, 8), (9.0, 10.0, 1.0, 0.0)).at_every_order()
    assert len(curve) == 8
    assert (np.diff(curve) <= 0).all()
    assert curve[1] == pytest.approx(9.0)
    assert 1.0 < curve[3] < curve[2] < 9.0
    assert curve[7] < 1e-9


def test_budgets_below_one_state_for_every_channel_are_refused() -> None:
    curves = {"a": CostCurve((1, 4), (1.0, 0.0)), "b": CostCurve((1, 4), (1.0, 0.0))}
    with pytest.raises(ValueError, match="6 states are fewer than the 7 channels"):
        distribute(curves, {"a": 3, "b": 4}, 6)


def test_layers_with_fewer_states_keep_theirs_and_orders_that_none_has_are_refused() -> None:
    systems = {"large": random_bank(2, 8), "small": random_bank(2, 4)}
    assert uniform_orders(systems, 4) == {"large": 4, "small": 4}
    assert uniform_orders(systems, 5) == {"large": 5, "small": 4}
    for order in (0, 9):
        with pytest.raises(ValueError, match="layer large has 8 states per channel: ask for an order from 1 to 8"):
            uniform_orders(systems, order)
