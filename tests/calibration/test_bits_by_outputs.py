"""`auto` precision: bits go where the outputs feel them."""

from __future__ import annotations

import itertools

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from models.digits import model as digits
from ssm2edge.calibration.bits_by_outputs import bits_by_outputs, shared_out
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import replace_layers
from ssm2edge.quantisation import weights_of
from tests.coloured_signals import reduced_to, sequences, systems_of

COSTS = st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-9, 1e-2)), min_size=1, max_size=5)


@given(pairs=COSTS, limit=st.floats(1e-8, 2))
def test_all_weights_together_meet_the_limit(pairs: list[tuple[float, float]], limit: float) -> None:
    costs = {str(place): {4: four, 8: min(eight, four)} for place, (four, eight) in enumerate(pairs)}
    bits = shared_out(costs, dict.fromkeys(costs, 100), limit)
    assert sum(costs[name][count] for name, count in bits.items()) <= limit


@example(pairs=[(1.0, 2.0**-9), (1.0, 2.0**-9), (2.0**-7, 2.0**-7)], limit=2.0**-8)
@given(pairs=COSTS, limit=st.floats(1e-8, 2))
def test_no_weight_keeps_more_bits_than_any_choice_needs(pairs: list[tuple[float, float]], limit: float) -> None:
    """At most one raise above the fewest bits of all choices: raises are whole, and the last one may overshoot."""
    costs = {str(place): {4: four, 8: min(eight, four), 32: 0.0} for place, (four, eight) in enumerate(pairs)}
    bits = dict.fromkeys(costs, 32) | shared_out(costs, dict.fromkeys(costs, 100), limit)
    allowed = [
        choice
        for choice in itertools.product((4, 8, 32), repeat=len(costs))
        if sum(costs[name][count] for name, count in zip(costs, choice, strict=True)) <= limit
    ]
    assert min(sum(choice) for choice in allowed) <= sum(bits.values()) <= min(sum(choice) for choice in allowed) + 28


def test_the_network_stays_and_every_weight_has_a_reason() -> None:
    torch.manual_seed(0)
    model = digits.make(channels=8, states=4, layers=2).eval()
    systems = systems_of(model)
    network = replace_layers(model, reduced_to(systems, 2)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = weights_of(network)
    assert weights
    bits, reasons = bits_by_outputs(network, Teacher(model, systems), weights, {}, sequences(), "accuracy")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert set(reasons) == set(weights) >= set(bits)
    assert all("bits deviate the outputs by" in reason for reason in reasons.values())
