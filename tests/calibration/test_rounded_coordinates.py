"""Rounded weights in output matching: they stay integers, the outputs come no farther, what is beside them is tuned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.digits import model as digits
from ssm2edge.cache import Calibrations
from ssm2edge.calibration import Calibrated, Matching, calibrate
from ssm2edge.calibration.rounded_coordinates import RoundedCoordinates
from ssm2edge.layers import replace_layers
from ssm2edge.quantisation import grid_of, round_weights, weights_of
from tests.coloured_signals import reduced_to, sequences, systems_of
from tests.slow_cases import slow


def model() -> nn.Module:
    torch.manual_seed(0)
    return digits.make(channels=8, states=4, layers=1).eval()


def calibrated(kind: str, precision: str) -> Calibrated:
    made = model()
    systems = systems_of(made)
    matching = Matching(steps=20, batch=8, rate=0.02, held_back=0.25)
    return calibrate(made, systems, reduced_to(systems, 2), sequences(24), kind, None, matching, "balanced", precision=precision)


@pytest.mark.parametrize("bits", [slow(4), 8])
def test_matched_weights_stay_integers_and_the_outputs_come_no_farther(bits: int) -> None:
    found = calibrated("match", f"int{bits}")
    assert found.matched is not None
    assert found.matched.after <= found.matched.before
    network = replace_layers(model(), found.systems)
    names = list(weights_of(network))
    assert names
    assert set(found.around) == {name for name, _ in network.named_parameters() if ".block." not in name}
    for name in names:
        assert grid_of(found.around[name].flatten(1).numpy(), bits) is not None


def test_float32_tunes_nothing_beside_the_blocks() -> None:
    assert calibrated("match", "float32").around == {}


def test_a_coordinate_moves_a_number_by_steps() -> None:
    layer = nn.Linear(16, 4)
    (one,) = round_weights(weights_of(layer), {"weight": 8}, {}).values()
    coordinates, before = RoundedCoordinates(one), layer.weight.detach().clone()
    coordinates.push()
    assert torch.equal(layer.weight.detach(), before)
    with torch.no_grad():
        coordinates.point[1, 2] = 3.0 if before[1, 2] < 0 else -3.0
    coordinates.push()
    moved = (layer.weight.detach() - before).double() / one.steps.each
    assert int(moved[1, 2].abs()) == 3
    moved[1, 2] = 0
    assert not moved.any()


def test_what_was_rounded_is_kept_and_found_again(tmp_path: Path) -> None:
    found = calibrated("spectrum", "int8")
    arrays, record = Calibrations().pack(found)
    again = Calibrations().unpack({name: np.array(value) for name, value in arrays.items()}, record)
    assert set(again.around) == set(found.around)
    assert all(torch.equal(value, found.around[name]) for name, value in again.around.items())
    assert again.reasons == found.reasons
