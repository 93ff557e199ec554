"""Balanced truncation, Hankel values and h2 norms equal pyMOR's discrete-time ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymor.models.iosys import LTIModel
from pymor.reductors.bt import BTReductor

from ssm2edge.reduction import reduce_system
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.norms import h2_norm, hankel_singular_values
from ssm2edge.systems.peak_gain import hinf_norm
from ssm2edge.systems.response import frequency_response

SHAPES = [(8, 1, 1), (9, 2, 3)]


def random_pair(n: int, m: int, p: int) -> tuple[DenseSystem, LTIModel]:
    """The same random stable system here and in pyMOR."""
    generator = np.random.default_rng(n)
    A = generator.standard_normal((n, n))
    A *= 0.9 / np.abs(np.linalg.eigvals(A)).max()
    matrices = [A, generator.standard_normal((n, m)), generator.standard_normal((p, n)), generator.standard_normal((p, m))]
    return DenseSystem(*(torch.tensor(x) for x in matrices)), LTIModel.from_matrices(*matrices, sampling_time=1)


@pytest.mark.parametrize(("n", "m", "p"), SHAPES)
def test_h2_norm_and_hankel_values(n: int, m: int, p: int) -> None:
    dense, model = random_pair(n, m, p)
    system = to_modal(dense)
    np.testing.assert_allclose(hankel_singular_values(system).numpy(), model.hsv(), rtol=1e-6, atol=1e-9)
    # pyMOR's norm leaves the feedthrough out.
    proper = system.with_output(system.C, torch.zeros_like(system.D))
    without_feedthrough = LTIModel.from_matrices(*(getattr(dense, name).numpy() for name in "ABC"), sampling_time=1)
    assert float(h2_norm(proper)) == pytest.approx(float(without_feedthrough.h2_norm()), rel=1e-8)


@pytest.mark.parametrize(("n", "m", "p"), SHAPES)
@pytest.mark.parametrize("order", [1, 2, 5])
def test_balanced_truncation_is_pymors(n: int, m: int, p: int, order: int) -> None:
    dense, model = random_pair(n, m, p)
    reduced = reduce_system(to_modal(dense), order, "balanced").system
    expected = BTReductor(model).reduce(order)
    frequencies = np.linspace(0, np.pi, 9)
    here = frequency_response(reduced, torch.tensor(frequencies)).movedim(-1, 0).numpy()
    there = np.stack([expected.transfer_function.eval_tf(np.exp(1j * w)) for w in frequencies])
    np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-8)
    poles = np.sort_complex(np.round(reduced.poles.numpy(), 8))
    np.testing.assert_allclose(poles, np.sort_complex(np.round(expected.poles(), 8)), atol=2e-7)


@pytest.mark.parametrize(("n", "m", "p"), SHAPES)
def test_balanced_truncation_keeps_its_error_bound(n: int, m: int, p: int) -> None:
    dense, model = random_pair(n, m, p)
    system = to_modal(dense)
    sv = model.hsv()
    for order in (2, 4):
        reduced = reduce_system(system, order, "balanced").system
        w = torch.linspace(0, torch.pi, 2000, dtype=torch.float64)
        gap = frequency_response(system, w) - frequency_response(reduced, w)
        worst = float(torch.linalg.matrix_norm(gap.movedim(-1, -3), ord=2).max())
        assert worst <= 2 * sv[order:].sum() * (1 + 1e-9)
    assert float(hinf_norm(system)) <= float(2 * sv.sum() + np.linalg.norm(dense.D.numpy(), 2))
