"""``full - reduced`` is the system whose outputs are the difference of both systems' outputs, and its norms are pyMOR's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymor.models.iosys import LTIModel

from ssm2edge.systems.dense import is_canonical, to_modal
from ssm2edge.systems.gramians import controllability_gramian, real_controllability_gramian
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.response import simulate
from ssm2edge.systems.system import System, stack
from tests.random_banks import random_bank
from tests.random_mimo import random_dense, random_mimo

INPUTS, OUTPUTS = 2, 3


def reads_after() -> System:
    system = random_mimo(5, INPUTS, OUTPUTS, seed=7)
    return replace(system, D=torch.zeros_like(system.D), after_sample=True)


PAIRS: dict[str, tuple[System, System]] = {
    "banks": (random_bank(4, 6, seed=1), random_bank(4, 3, seed=2)),
    "odd order first": (random_bank(4, 5, seed=1), random_bank(4, 4, seed=2)),
    "many inputs": (random_mimo(6, INPUTS, OUTPUTS, 1), random_mimo(3, INPUTS, OUTPUTS, 2)),
    "quadratic": (random_mimo(5, INPUTS, OUTPUTS, 1, quadratic=2), random_mimo(3, INPUTS, OUTPUTS, 2, quadratic=1)),
    "first one quadratic": (random_mimo(5, INPUTS, OUTPUTS, 1, quadratic=2), random_mimo(3, INPUTS, OUTPUTS, 2)),
    "second one quadratic": (random_mimo(4, INPUTS, OUTPUTS, 1), random_mimo(3, INPUTS, OUTPUTS, 2, quadratic=2)),
    "first one reads after the sample": (reads_after(), random_mimo(2, INPUTS, OUTPUTS, 3)),
    "second one reads after the sample": (random_mimo(2, INPUTS, OUTPUTS, 3), reads_after()),
    "both read after the sample": (reads_after(), reads_after()[None][0]),
    "batches of many inputs": (
        stack([random_mimo(5, INPUTS, OUTPUTS, seed, quadratic=1) for seed in range(3)]),
        stack([random_mimo(3, INPUTS, OUTPUTS, seed, quadratic=1) for seed in range(3)]),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_outputs_are_the_difference_of_both_outputs(pair: str) -> None:
    one, two = PAIRS[pair]
    both = one - two
    generator = torch.Generator().manual_seed(0)
    u = torch.randn((*one.batch_shape, one.inputs, 40), generator=generator, dtype=torch.float64)
    expected = simulate(one, u)[0] - simulate(two, u)[0]
    torch.testing.assert_close(simulate(both, u)[0], expected, rtol=1e-9, atol=1e-9)
    assert both.order == one.order + two.order
    assert not both.after_sample


@pytest.mark.parametrize("pair", PAIRS)
def test_states_stand_in_canonical_order(pair: str) -> None:
    one, two = PAIRS[pair]
    both = one - two
    assert is_canonical(both)
    # The real Gramian is computed section by section: sums of its diagonal are those of the modal one in canonical order only.
    traces = (real_controllability_gramian(both, 30), controllability_gramian(both, 30).real)
    torch.testing.assert_close(*(x.diagonal(dim1=-2, dim2=-1).sum(-1) for x in traces))


@pytest.mark.parametrize("horizon", [12, None])
@pytest.mark.parametrize("pair", PAIRS)
def test_its_norm_is_the_error(pair: str, horizon: int | None) -> None:
    one, two = PAIRS[pair]
    torch.testing.assert_close(h2_norm(one - two, horizon), h2_error(one, two, horizon), rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3)])
def test_its_norm_is_pymors(inputs: int, outputs: int) -> None:
    dense = [random_dense(order, inputs, outputs, order) for order in (7, 3)]
    # pyMOR's norm leaves the feedthrough out.
    silent = [replace(x, D=torch.zeros_like(x.D)) for x in dense]
    one, two = (to_modal(x) for x in silent)
    theirs = [LTIModel.from_matrices(*(getattr(x, name).numpy() for name in "ABC"), sampling_time=1) for x in silent]
    np.testing.assert_allclose(float(h2_norm(one - two)), float((theirs[0] - theirs[1]).h2_norm()), rtol=1e-8)
