"""Modal and dense forms are the same system; responses agree with recurrences written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssm2edge.systems.dense import DenseSystem, is_canonical, to_dense, to_modal, with_real_coefficients
from ssm2edge.systems.response import frequency_response, impulse_response, simulate
from ssm2edge.systems.stability import into_disc, is_stable, spectral_radius
from ssm2edge.systems.system import System, from_conjugate_half, siso_bank


def recurrence(dense: DenseSystem, inputs: np.ndarray) -> np.ndarray:
    """Y = C x + D u + x^T M x in plain numpy, (p, length)."""
    A, B, C, D = (getattr(dense, name).numpy() for name in "ABCD")
    x, outputs = np.zeros(A.shape[-1]), []
    for u in inputs.T:
        y = C @ x + D @ u
        if dense.M is not None:
            y = y + np.array([x @ M @ x for M in dense.M.numpy()])
        outputs.append(y)
        x = A @ x + B @ u
    return np.array(outputs).T


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), m=st.integers(1, 3), p=st.integers(1, 3), quadratic=st.booleans(), seed=st.integers(0, 10**6))
def test_dense_to_modal_to_dense_keeps_inputs_to_outputs(n: int, m: int, p: int, quadratic: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((n, n)) / (1.2 * np.sqrt(n) + 1)
    M = generator.standard_normal((p, n, n))
    parts = [A, generator.standard_normal((n, m)), generator.standard_normal((p, n)), generator.standard_normal((p, m))]
    dense = DenseSystem(*(torch.tensor(x) for x in parts), M=torch.tensor(M + M.transpose(0, 2, 1)) if quadratic else None)
    inputs = generator.standard_normal((m, 12))
    expected = recurrence(dense, inputs)
    modal = to_modal(dense)
    np.testing.assert_allclose(recurrence(to_dense(modal), inputs), expected, rtol=1e-6, atol=1e-7)
    outputs, _ = simulate(modal, torch.tensor(inputs))
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-6, atol=1e-7)
    if not quadratic:
        unit = np.eye(m)[:, :, None] * np.eye(12)[0]
        columns = np.stack([recurrence(dense, u) for u in unit], axis=1)
        np.testing.assert_allclose(impulse_response(modal, 12).numpy(), columns, rtol=1e-6, atol=1e-7)


def test_poles_stand_in_canonical_order() -> None:
    A = torch.block_diag(torch.tensor([[0.5]]), torch.tensor([[0.3, 0.4], [-0.4, 0.3]]), torch.tensor([[-0.2]])).double()
    modal = to_modal(DenseSystem(A, torch.ones(4, 1).double(), torch.ones(1, 4).double(), torch.zeros(1, 1).double()))
    poles = modal.poles
    assert poles[0].imag > 0
    assert poles[1] == poles[0].conj()
    assert (poles[2:].imag == 0).all()
    assert poles[2].real > poles[3].real


def test_a_defective_matrix_keeps_its_impulse_response() -> None:
    A = torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=torch.float64)
    dense = DenseSystem(A, torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 1).double())
    modal = to_modal(dense)
    expected = np.array([0.0] + [k * 0.5 ** (k - 1) if k else 0.0 for k in range(9)])
    np.testing.assert_allclose(impulse_response(modal, 10).numpy().ravel(), expected, atol=1e-6)
    assert is_stable(modal)


def test_nan_has_no_modal_form() -> None:
    bad = torch.full((2, 2), torch.nan, dtype=torch.float64)
    with pytest.raises(ValueError, match="NaN"):
        to_modal(DenseSystem(bad, bad[:, :1], bad[:1], bad[:1, :1]))


def test_frequency_response_is_the_transform_of_the_impulse_response() -> None:
    generator = torch.Generator().manual_seed(0)
    poles = torch.polar(torch.rand(4, 3, generator=generator).double() * 0.8, torch.rand(4, 3, generator=generator).double() * 3)
    B = torch.randn(4, 3, 2, dtype=torch.complex128, generator=generator)
    C = torch.randn(4, 2, 3, dtype=torch.complex128, generator=generator)
    system = from_conjugate_half(poles, B, C, torch.randn(4, 2, 2, generator=generator).double())
    w = torch.linspace(0, 3.1, 7, dtype=torch.float64)
    h = impulse_response(system, 300)
    expected = h.to(torch.complex128) @ torch.exp(-1j * w * torch.arange(300)[:, None])
    torch.testing.assert_close(frequency_response(system, w), expected, rtol=1e-10, atol=1e-10)


def test_a_real_pole_stored_as_a_pair_becomes_two_real_states() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.complex128)
    system = from_conjugate_half(one[0] * 0.9, one * (1 + 2j), one * (0.5 - 1j), torch.zeros(1, 1, 1))
    real = with_real_coefficients(system)
    assert (real.B.imag == 0).all()
    assert (real.C.imag == 0).all()
    torch.testing.assert_close(impulse_response(real, 20), impulse_response(system, 20))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3.1)), min_size=1, max_size=6))
def test_poles_are_brought_into_the_disc_and_stable_ones_left_alone(polar: list[tuple[float, float]]) -> None:
    poles = torch.tensor([r * np.exp(1j * a) for r, a in polar], dtype=torch.complex128)
    inside = into_disc(poles)
    assert (inside.abs() < 1).all()
    stable = poles.abs() < 0.999
    assert torch.equal(inside[stable], poles[stable])
    zeros = torch.zeros(len(polar), 1, dtype=torch.complex128)
    system = System(inside, zeros, zeros.mT, torch.zeros(1, 1, dtype=torch.float64))
    assert bool(is_stable(system))
    assert float(spectral_radius(system)) == pytest.approx(float(inside.abs().max()))


def test_canonical_order_is_told_from_others() -> None:
    pair, real = torch.tensor([0.5 + 0.5j, 0.5 - 0.5j]), torch.tensor([0.9 + 0j, 0.2 + 0j, 0.2 + 0j])
    poles = torch.cat([pair, real]).to(torch.complex128)
    residues = torch.tensor([1 + 2j, 1 - 2j, 3, 4, 5], dtype=torch.complex128)

    def canonical(poles: Tensor, residues: Tensor) -> bool:
        return is_canonical(siso_bank(poles[None], residues[None], torch.zeros(1, dtype=torch.float64)))

    assert canonical(poles, residues)
    assert canonical(poles[2:], residues[2:])
    assert canonical(poles[3:].repeat(2), torch.tensor([1 + 1j, 1 - 1j, 2, 3], dtype=torch.complex128))
    # A System puts real poles behind the pairs itself, also one that stands between the members of a pair.
    assert canonical(poles[[0, 2, 1, 3, 4]], residues[[0, 2, 1, 3, 4]])
    assert not canonical(poles, residues * torch.tensor([1, 0, 1, 1, 1]))
    assert not canonical(poles, residues + torch.tensor([0, 0, 0, 0, 1e-3j]))
    assert not canonical(poles[:1], residues[:1])
