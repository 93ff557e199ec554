"""Calibration samples: what cannot be used is refused in one sentence that names it; parts are parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ssm2edge.calibration import signals_of
from ssm2edge.calibration.signals import STEPS_AT_ONCE, coefficients, steps_needed
from ssm2edge.errors import UserError
from ssm2edge.layers import block_of
from ssm2edge.reduction import reduce_system
from tests.coloured_signals import follower, sequences, systems_of
from tests.random_banks import random_bank

LENGTH = 12
SYSTEMS = {"layers.3": random_bank(4, 6)}


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def with_nan() -> np.ndarray[Any, Any]:
    values = noise(8, LENGTH, 1)
    values[2, 3] = np.nan
    return values


@pytest.mark.parametrize(
    ("samples", "order", "said"),
    [
        ({}, 2, ["no calibration samples", "calibration.<input>", "without --calibrate"]),
        ({"pixels": with_nan()}, 2, ["pixels", "NaN or infinite", "leave those samples out"]),
        ({"pixels": noise(8, LENGTH + 1, 1)}, 2, ["pixels", "13 time steps", "12", "length that the model is used on"]),
        ({"pixels": noise(4, LENGTH, 1)}, 2, ["4 calibration samples", "at least 5"]),
        (
            {"pixels": noise(5, 2, 1)},
            5,
            ["10 calibration time steps", "fewer than the 11", "coefficients of layer layers.3", "5 states", "more samples"],
        ),
        ({"pixels": noise(50, 1, 1)}, 2, ["one time step", "longer ones", "without"]),
    ],
)
def test_useless_samples_are_refused_in_one_sentence(samples: dict[str, Any], order: int, said: list[str]) -> None:
    length = next((x.shape[1] for x in samples.values() if x.shape[1] < 3), LENGTH)
    with pytest.raises(UserError) as refusal:
        signals_of(samples, dict.fromkeys(samples, 1), length, SYSTEMS, {"layers.3": order})
    sentence = str(refusal.value)
    assert all(words in sentence for words in said), sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_fewest_samples_and_steps_are_enough() -> None:
    signals = signals_of({"pixels": noise(6, 2, 1)}, {"pixels": 1}, 2, SYSTEMS, {"layers.3": 5})
    assert len(signals) == 6


def test_batches_hold_a_bounded_number_of_steps_and_tokens_stay_integers() -> None:
    length = STEPS_AT_ONCE // 3
    tokens = np.zeros((7, length), np.int64)
    signals = signals_of(
        {"tokens": tokens, "pixels": noise(7, length)}, {"tokens": 1, "pixels": 1}, length, SYSTEMS, {"layers.3": 2}
    )
    batches = list(signals)
    assert [len(batch[0]) for batch in batches] == [3, 3, 1]
    assert batches[0][0].dtype == torch.int64
    assert all(len(batch) == 2 and len(batch[0]) == len(batch[1]) for batch in batches)
    long = signals_of(
        {"pixels": np.zeros((5, 2 * STEPS_AT_ONCE), np.float32)}, {"pixels": 1}, 2 * STEPS_AT_ONCE, SYSTEMS, {"layers.3": 2}
    )
    assert long.at_once == 1


def test_two_parts_hold_every_sample_once_and_depend_on_the_seed_alone() -> None:
    signals = sequences(23)
    firsts = []
    for seed in (0, 0, 1):
        parts = signals.split(0.2, seed)
        assert [len(part) for part in parts] == [18, 5]
        together = torch.cat([part.inputs[0] for part in parts])[:, 0, 0]
        assert sorted(together.tolist()) == sorted(signals.inputs[0][:, 0, 0].tolist())
        firsts.append(parts[0].inputs[0])
        torch.rand(1)
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


@pytest.mark.parametrize(("share", "sizes"), [(1e-6, [4, 1]), (1 - 1e-6, [1, 4])])
def test_neither_part_is_empty(share: float, sizes: list[int]) -> None:
    assert [len(part) for part in sequences(5).split(share, 0)] == sizes


def test_coefficients_are_counted_per_system() -> None:
    # One channel of three states: poles, residues, feedthrough.
    assert coefficients(SYSTEMS["layers.3"], 3) == 7
    system = systems_of(follower(0))["layers.0.lru"]
    block = block_of(reduce_system(system, 3, "balanced").system)
    assert coefficients(system, 3) == sum(p.numel() for p in block.parameters())
    # Symmetric forms of three states on each of four outputs.
    assert coefficients(systems_of(follower(2))["layers.0.lru"], 3) == coefficients(system, 3) + 4 * 6


def test_as_many_steps_are_needed_as_there_are_coefficients_for_each_output() -> None:
    assert steps_needed(SYSTEMS["layers.3"], 3) == 7
    # Four outputs: four numbers a step for 31 coefficients.
    linear = systems_of(follower(0))["layers.0.lru"]
    assert coefficients(linear, 3) == 31
    assert steps_needed(linear, 3) == 8
