"""What every reduction promises, whatever the method."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm2edge.reduction import METHODS, reduce_system
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System, from_conjugate_half, siso_bank
from tests.slow_cases import slow


def s4d_lin(channels: int, states: int, seed: int = 0) -> System:
    """Untrained S4D-Lin channels: poles exp(dt (-1/2 + i pi n)), random complex C, zero-order hold."""
    generator = torch.Generator().manual_seed(seed)
    dt = torch.exp(torch.rand(channels, generator=generator).double() * math.log(10) + math.log(1e-2))
    continuous = torch.complex(torch.full((states // 2,), -0.5).double(), math.pi * torch.arange(states // 2).double())
    poles = torch.exp(dt[:, None] * continuous)
    C = torch.randn(channels, states // 2, dtype=torch.complex128, generator=generator) * (poles - 1) / continuous
    D = torch.randn(channels, 1, 1, generator=generator).double()
    return from_conjugate_half(poles, torch.ones_like(poles)[..., None], C[:, None, :], D)


def assert_contract(original: System, order: int, method: str, horizon: int | None) -> None:
    result = reduce_system(original, order, method, horizon)
    reduced = result.system
    assert reduced.batch_shape == original.batch_shape
    assert reduced.order == order
    assert (reduced.poles.abs() < 1).all()
    assert torch.equal(result.spectral_radius, reduced.poles.abs().amax(-1))
    # Singular perturbation is what changes the feedthrough, to match the gain at frequency zero.
    assert torch.equal(reduced.D, original.D) or "singular_perturbation" in method
    taps = horizon or 4_000  # the slowest pole here is below exp(-0.005) = 0.995
    gap = (impulse_response(original, taps + 1) - impulse_response(reduced, taps + 1)).square().sum((-3, -2, -1)).sqrt()
    size = impulse_response(original, taps + 1).square().sum((-3, -2, -1)).sqrt()
    torch.testing.assert_close(result.error, gap, rtol=1e-6, atol=1e-6 * float(size.max()))
    torch.testing.assert_close(result.relative_error, gap / size, rtol=1e-6, atol=1e-6)
    assert sum(result.outcome_counts.values()) == original.batch_shape.numel()


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("order", [slow(1), slow(2), 3, slow(5), slow(8), slow(15)])
@pytest.mark.parametrize("horizon", [slow(7), 300, None])
def test_stable_in_stable_out_and_errors_are_those_of_the_impulse_responses(method: str, order: int, horizon: int | None) -> None:
    assert_contract(s4d_lin(6, 16, seed=order), order, method, horizon)


@settings(max_examples=15, deadline=None)
@given(
    pairs=st.integers(0, 4),
    reals=st.integers(0, 3),
    batch=st.lists(st.integers(1, 3), max_size=2),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_any_shape_of_bank(pairs: int, reals: int, batch: list[int], seed: int, data: st.DataObject) -> None:
    if pairs + reals == 0:
        reals = 1
    generator = torch.Generator().manual_seed(seed)

    def uniform(count: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(*batch, count, generator=generator, dtype=torch.float64) * (high - low) + low

    upper = torch.polar(uniform(pairs, 0.1, 0.98), uniform(pairs, 0.05, 3.0))
    real = uniform(reals, -0.95, 0.98).to(torch.complex128)
    residues = torch.complex(uniform(pairs, -1, 1), uniform(pairs, -1, 1))
    poles = torch.cat((torch.stack((upper, upper.conj()), -1).flatten(-2), real), -1)
    residues = torch.cat((torch.stack((residues, residues.conj()), -1).flatten(-2), uniform(reals, -1, 1).to(real)), -1)
    system = siso_bank(poles, residues, uniform(1, -1, 1)[..., 0])
    order = data.draw(st.integers(1, system.order))
    assert_contract(system, order, data.draw(st.sampled_from(sorted(METHODS))), data.draw(st.sampled_from([5, 200, None])))


def test_the_full_order_is_the_identity() -> None:
    system = s4d_lin(3, 8)
    result = reduce_system(system, 8)
    assert torch.equal(result.system.poles, system.poles)
    assert result.outcome_counts == {"identity": 3}
    assert (result.relative_error < 1e-7).all()


def test_a_system_with_fewer_active_modes_is_recovered() -> None:
    """Three of five modes have no residue: order 4 loses nothing, by any of the spine's methods."""
    system = s4d_lin(4, 10, seed=3)
    C = system.C.clone()
    C[..., 4:] = 0
    silent = System(system.poles, system.B, C, system.D)
    for method in ("balanced", "gradient"):
        assert (reduce_system(silent, 4, method, 100).relative_error < 1e-6).all(), method


@pytest.mark.parametrize("horizon", [784, None])
@pytest.mark.parametrize("order", [slow(1), slow(2), 4, slow(8), slow(16)])
def test_gradient_is_never_worse_than_the_methods_it_starts_from(order: int, horizon: int | None) -> None:
    system = s4d_lin(12, 32, seed=order)
    refined = reduce_system(system, order, "gradient", horizon)
    for method in ("balanced", "tlh2"):
        assert (refined.error <= reduce_system(system, order, method, horizon).error).all(), method


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 0}, "order"),
        ({"order": 9}, "order"),
        ({"order": True}, "order"),
        ({"method": "magic"}, "magic"),
        ({"horizon": 0}, "horizon"),
        ({"nan": True}, "NaN"),
        ({"unstable": True}, "modulus"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(change: dict[str, object], message: str) -> None:
    system = s4d_lin(2, 8)
    poles = system.poles.clone()
    if change.pop("nan", False):
        poles[0, 0] = torch.nan
    if change.pop("unstable", False):
        poles[0, :2] = 1.0
    arguments = {"order": 4, "method": "gradient", "horizon": None} | change
    with pytest.raises(ValueError, match=message):
        reduce_system(System(poles, system.B, system.C, system.D), **arguments)  # type: ignore[arg-type]  # senseless on purpose
