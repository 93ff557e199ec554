"""The projected error, its gradient and Hessian, against brute force and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssm2edge.reduction.newton import Channels, channels_of, evaluate, minimise
from ssm2edge.reduction.sections import Sections, sections_of
from ssm2edge.systems.response import pole_sequences
from ssm2edge.systems.system import siso_bank

POLES = [0.9 + 0.1j, 0.9 - 0.1j, 0.5 + 0.5j, 0.5 - 0.5j, 0.7, -0.4, 0.2]


def targets(batch: int, horizon: int | None) -> tuple[Channels, Tensor]:
    """Channels with six modes, and their impulse responses (2,000 taps stand for all)."""
    generator = torch.Generator().manual_seed(1)
    half = torch.polar(
        torch.rand(batch, 3, generator=generator).double() * 0.3 + 0.68, torch.rand(batch, 3, generator=generator).double() * 3
    )
    residues = torch.randn(batch, 3, dtype=torch.complex128, generator=generator)
    poles, residues = (torch.stack((x, x.conj()), -1).flatten(-2) for x in (half, residues))
    h = (residues[:, None, :] @ pole_sequences(poles, horizon or 2000))[:, 0].real
    bank = siso_bank(poles, residues, torch.zeros(batch, dtype=torch.float64))
    # Without the ridge: the exact projection is what the formulas state.
    return channels_of(bank, horizon, ridge=0.0), h


def least_squares_error(sections: Sections, h: Tensor) -> Tensor:
    """Distance from h to the span of the sampled exponentials, by a QR decomposition of the samples."""
    powers = pole_sequences(sections.poles(), h.shape[-1])
    basis = torch.cat((powers.real, powers.imag[:, : sections.paired.shape[-1]]), dim=1).mT
    U, s, _ = torch.linalg.svd(basis, full_matrices=False)
    U = U * (s > 1e-11 * s[..., :1]).to(U)[:, None, :]
    return (h - (U @ (U.mT @ h[..., None]))[..., 0]).square().sum(-1)


@pytest.mark.parametrize("horizon", [40, 784, None])
def test_value_is_the_least_squares_distance(horizon: int | None) -> None:
    channels, h = targets(4, horizon)
    sections = sections_of(torch.tensor([POLES] * 4, dtype=torch.complex128))
    torch.testing.assert_close(evaluate(channels, sections).value, least_squares_error(sections, h), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("horizon", [40, 784, None])
def test_gradient_and_hessian_equal_finite_differences(horizon: int | None) -> None:
    channels, _ = targets(4, horizon)
    sections = sections_of(torch.tensor([POLES] * 4, dtype=torch.complex128))
    local, scales, h = evaluate(channels, sections), sections.scales(), 1e-5
    for j in range(len(POLES)):
        step = torch.zeros(len(POLES), dtype=torch.float64)
        step[j] = h
        up, down = (Sections(sections.parameters + s * step * scales, sections.paired, sections.negative) for s in (1, -1))
        above, below = evaluate(channels, up), evaluate(channels, down)
        slope = (above.value - below.value) / (2 * h)
        assert (slope - local.gradient[:, j]).abs().max() < 1e-6 * local.gradient.abs().max()
        # The reported gradient is per scaled unit; the scales move with nu.
        column = (above.gradient / up.scales() - below.gradient / down.scales()) / (2 * h) * scales
        assert (column - local.hessian[:, :, j]).abs().max() < 1e-6 * local.hessian.abs().max()


@pytest.mark.parametrize("horizon", [40, None])
def test_refinement_descends_to_a_stationary_point(horizon: int | None) -> None:
    channels, _ = targets(8, horizon)
    start = sections_of(torch.tensor([[0.8 + 0.2j, 0.8 - 0.2j, 0.5]] * 8, dtype=torch.complex128))
    end = minimise(channels, start)
    assert (end.value <= evaluate(channels, start).value).all()
    assert end.converged.float().mean() >= 0.75
    slope = evaluate(channels, end.sections).gradient[end.converged].abs().amax(-1)
    assert (slope < 1e-3 * end.value[end.converged]).all()


def test_poles_survive_the_parameterisation() -> None:
    poles = torch.tensor([POLES], dtype=torch.complex128)
    torch.testing.assert_close(sections_of(poles).poles(), poles, rtol=0, atol=1e-14)


def test_no_step_leaves_the_disc() -> None:
    sections = sections_of(torch.tensor([POLES], dtype=torch.complex128))
    for size in (-1e6, -30.0, 30.0, 1e6):
        poles = sections.moved(torch.full((1, len(POLES)), size, dtype=torch.float64)).poles()
        assert (poles.abs() < 1).all()
        assert torch.isfinite(poles).all()
        assert torch.equal(poles[0, 0].conj(), poles[0, 1])
