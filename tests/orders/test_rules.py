"""Rules: gradients are those of finite differences, and layers that do not matter get nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.digits.model import make
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.orders import RULES, Choice, Study, smallest_budget, study
from ssm2edge.reduction import reduce_system
from ssm2edge.traced import InputAxes, Network, trace
from tests.slow_cases import slow

LENGTH = 30


def studied(model: nn.Module) -> Study:
    systems = {layer.name: layer.system for layer in find_layers(model)}
    program = trace(exportable(replace_layers(model, systems)), [InputAxes("u", 1, torch.zeros(1, 5, 1))]).program
    x = torch.randn(6, LENGTH, 1, generator=torch.Generator().manual_seed(1))
    return study(Network(program), systems, [x], LENGTH)


@pytest.fixture(scope="module")
def three_layers() -> Study:
    torch.manual_seed(0)
    return studied(make(channels=4, states=8, layers=3).eval())


def with_small_errors(seen: Study) -> Study:
    """Every layer's only step below its own order is itself with outputs a ten-thousandth larger."""
    steps = {
        name: {1: system.with_output(system.C * 1.0001, system.D * 1.0001), system.order: system}
        for name, system in seen.systems.items()
    }
    return replace(seen, steps=steps, inputs=[x.double() for x in seen.inputs])


def in_float64(seen: Study) -> Study:
    seen.network.weights.update({node: value.double() for node, value in seen.network.weights.items()})
    return seen


def test_first_order_costs_are_the_measured_ones_where_errors_are_small() -> None:
    torch.manual_seed(0)
    small = with_small_errors(in_float64(studied(make(channels=4, states=8, layers=3).eval())))
    predicted, measured = (RULES[rule](small, lambda share: None) for rule in ("first_order", "one_layer"))
    for name in small.systems:
        assert measured[name].costs[0] > 0
        assert predicted[name].costs[0] == pytest.approx(measured[name].costs[0], rel=0.02)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_unreduced_layers_cost_nothing_and_reduced_ones_something(three_layers: Study, rule: str) -> None:
    curves = RULES[rule](three_layers, lambda share: None)
    assert set(curves) == set(three_layers.systems)
    for name, curve in curves.items():
        assert curve.orders[-1] == three_layers.systems[name].order
        assert curve.costs[-1] <= 1e-9 * curve.costs[0]
        assert curve.costs[0] > 0


@pytest.mark.parametrize("rule", ["bound", slow("sensitivity"), slow("first_order"), slow("one_layer")])
def test_layers_whose_outputs_are_thrown_away_get_one_state(rule: str) -> None:
    torch.manual_seed(0)
    model = make(channels=4, states=8, layers=2).eval()
    with torch.no_grad():
        for parameter in model.get_submodule("layers.0.output_linear").parameters():
            parameter.zero_()
    seen = studied(model)
    curves = RULES[rule](seen, lambda share: None)
    assert max(curves["layers.0"].costs) <= 1e-9 * max(curves["layers.1"].costs)


def test_choice_is_at_least_as_good_on_its_samples_as_the_same_order_everywhere(three_layers: Study) -> None:
    choice = Choice(three_layers)
    expected = three_layers.outputs({})

    def error(orders: dict[str, int]) -> float:
        systems = three_layers.systems
        made = {name: reduce_system(systems[name], order, "balanced", LENGTH).system for name, order in orders.items()}
        return float((three_layers.outputs(made) - expected).norm())

    orders = choice.orders(2 * 12)
    assert 4 * sum(orders.values()) <= 2 * 12
    assert error(orders) <= error(dict.fromkeys(three_layers.systems, 2)) * (1 + 1e-9)


def test_whole_budget_keeps_everything(three_layers: Study) -> None:
    assert Choice(three_layers).orders(3 * 4 * 8) == {"layers.0": 8, "layers.1": 8, "layers.2": 8}


@given(st.integers(0, 300), st.integers(1, 7), st.integers(1, 50), st.none() | st.integers(0, 400))
def test_smallest_budget_is_the_one_a_linear_search_finds(threshold: int, unit: int, steps: int, guess: int | None) -> None:
    least, most = 3 * unit, (3 + steps) * unit
    expected = next((b for b in range(least, most + 1, unit) if b >= threshold), None)
    judged: list[int] = []

    def good(budget: int) -> bool:
        judged.append(budget)
        return budget >= threshold

    assert smallest_budget(good, least, most, unit, guess) == expected
    assert len(set(judged)) == len(judged)


@given(st.integers(10, 990), st.integers(10, 990))
def test_with_a_guess_nothing_far_above_it_and_the_answer_is_judged(threshold: int, guess: int) -> None:
    judged: list[int] = []

    def good(budget: int) -> bool:
        judged.append(budget)
        return budget >= threshold

    assert smallest_budget(good, 1, 1000, 1, guess) == threshold
    assert max(judged) <= max(guess, 1.25 * threshold + 1)
