"""A reduced order at which float32 and not the number of states decides the error says so; pairs that all but meet are parted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ssm2edge.artifact.notes import notes
from ssm2edge.artifact.records import LayerRecord
from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.contract import Outcome
from ssm2edge.reduction.gradient import parted
from ssm2edge.reduction.projection import refit_channels
from ssm2edge.reduction.tied import reduce_tied
from ssm2edge.systems.norms import h2_error
from ssm2edge.systems.system import System
from ssm2edge.systems.tie import Tie
from tests.random_banks import random_bank
from tests.reduction.test_more_states import TAPS, legs
from tests.slow_cases import slow


def exact_errors(responses: np.ndarray, order: int) -> np.ndarray:
    """Twice the sum of the Hankel singular values left out: balanced truncation errs by no more in exact arithmetic."""
    rows = TAPS // 2
    hankel = np.stack([[response[i : i + rows] for i in range(rows)] for response in responses])
    left_out = np.linalg.svd(hankel, compute_uv=False)[:, order:].sum(-1)
    return 2 * left_out / np.linalg.norm(responses, axis=-1)


@pytest.mark.parametrize(
    ("steps", "order", "any_limited"),
    [((0.001,), 2, False), ((0.001,), 8, True), slow((0.01, 0.05, 0.3), 6, False), slow((0.01, 0.05, 0.3), 14, True)],
)
def test_the_limit_is_said_where_exact_arithmetic_would_do_far_better(
    steps: tuple[float, ...], order: int, any_limited: bool
) -> None:
    system, responses = legs(16, steps)
    result = reduce_system(system, order, "gradient", TAPS)
    far = result.relative_error.numpy() > 10 * exact_errors(responses, order)
    limited = (result.outcomes == int(Outcome.LIMITED)).numpy()
    assert (limited | ~far).all()
    assert limited.any() == any_limited


@pytest.mark.slow
def test_shared_poles_say_it_too() -> None:
    own, _ = legs(16, (0.02, 0.02))
    tie = Tie(own.poles[:1], torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.float64))
    bank = System(*own.arrays(), tie=tie)
    assert reduce_tied(bank, 15, "gradient", TAPS).outcome_counts == {"limited": 2}
    assert "limited" not in reduce_tied(bank, 3, "gradient", TAPS).outcome_counts


def test_modes_that_do_not_cancel_have_no_such_limit() -> None:
    result = reduce_system(random_bank(1, 4), 3, "gradient", TAPS)
    assert "limited" not in result.outcome_counts


def in_float32(system: System, inputs: np.ndarray) -> np.ndarray:
    """Outputs of one pair's recurrence in float32, from zero states: two real states, both of which take the input."""
    pole, residue = system.poles[0, 0].item(), system.residues[0, 0].item()
    A = np.array([[pole.real, -pole.imag], [pole.imag, pole.real]], np.float32)
    C = np.array([residue.real + residue.imag, residue.real - residue.imag], np.float32)
    state, outputs = np.zeros(2, np.float32), []
    for sample in inputs.astype(np.float32):
        outputs.append(C @ state)
        state = A @ state + sample
    return np.array(outputs)


def in_float64(system: System, inputs: np.ndarray) -> np.ndarray:
    """Outputs by the response, tap by tap."""
    powers = system.poles[0].numpy()[:, None] ** np.arange(len(inputs) - 1)
    response = np.concatenate([[0.0], (system.residues[0].numpy() @ powers).real])
    return np.convolve(response, inputs)[: len(inputs)]


def test_pairs_that_all_but_meet_on_the_real_axis_are_parted() -> None:
    poles = torch.tensor([[-0.6, -0.68, 0.9, 0.5]], dtype=torch.complex128)
    residues = torch.tensor([[-12.0, 12.5, 0.03, -0.02]], dtype=torch.complex128)
    system = System(
        poles, torch.ones(1, 4, 1, dtype=torch.complex128), residues[:, None], torch.zeros(1, 1, 1, dtype=torch.float64)
    )
    pair = torch.tensor([[-0.64 + 1e-6j, -0.64 - 1e-6j]], dtype=torch.complex128)
    near = refit_channels(system, pair, TAPS)
    apart = parted(system, near, TAPS)
    inputs = np.random.default_rng(0).standard_normal(400)

    def rounding(reduced: System) -> float:
        wanted = in_float64(reduced, inputs)
        return float(np.linalg.norm(in_float32(reduced, inputs) - wanted) / np.linalg.norm(wanted))

    assert rounding(near) > 1e-3
    assert rounding(apart) < 1e-4
    assert (h2_error(system, apart, TAPS) <= 1.01 * h2_error(system, near, TAPS)).all()
    # Others stay as they are.
    assert parted(system, apart, TAPS) is apart


def test_the_note_counts_the_systems() -> None:
    layer = LayerRecord("x", "s4", "bank", 3, 16, 14, TAPS, 0.1, 0.1, 0.9, {"limited": 2, "converged": 1})
    (note,) = notes(layer)
    assert "2 of 3 systems cancel beyond float32: at 14 states" in note.sentence
    assert not notes(dataclasses.replace(layer, outcomes={"converged": 3}))
