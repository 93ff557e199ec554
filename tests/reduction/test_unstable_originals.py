"""Systems with poles on or outside the unit circle are reduced by stable ones on a finite horizon."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge.layers.registry import block_of
from ssm2edge.reduction import METHODS, reduce_system
from ssm2edge.systems.system import System, from_real_part, reading_after, siso_bank
from tests.slow_cases import slow_but

TAPS = 150


def modes(seed: int, count: int, outside: tuple[float, ...]) -> NDArray[np.complex128]:
    generator = np.random.default_rng(seed)
    modulus = generator.uniform(0.7, 0.99, count)
    modulus[: len(outside)] = outside
    return modulus * np.exp(1j * generator.uniform(0.05, 1.5, count))


def mimo(outside: tuple[float, ...] = (1.004, 1.0)) -> System:
    """Two inputs, three outputs, 12 states."""
    generator = np.random.default_rng(1)
    B, C = (generator.standard_normal((2, *shape)) for shape in ((6, 2), (3, 6)))
    parts = [torch.from_numpy(np.ascontiguousarray(x)) for x in (modes(0, 6, outside), B[0] + 1j * B[1], C[0] + 1j * C[1])]
    return from_real_part(*parts, torch.from_numpy(generator.standard_normal((3, 2))))


def squares(outside: tuple[float, ...] = (1.004,)) -> System:
    linear = mimo(outside)
    factors = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(torch.complex128)
    factors[:, 1::2] = factors[:, 0::2]
    return System(*linear.arrays(), 0.1 * factors[:, :, None] * factors[:, None, :])


def bank() -> System:
    """One channel with an unstable pair, one with a real pole on the circle, and a stable one."""
    pairs = np.stack([np.stack([p, p.conj()], -1).ravel() for p in (modes(3, 3, (1.004,)), modes(4, 3, ()), modes(5, 3, ()))])
    residues = np.ones_like(pairs)
    pairs[1, -2:] = (1.0, 0.5)
    return siso_bank(torch.from_numpy(pairs), torch.from_numpy(residues), torch.zeros(3, dtype=torch.float64))


def taps_of(system: System, index: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Impulse responses by the recurrence."""
    A, B, C = (x[index].numpy() for x in (system.poles, system.B, system.C))
    state, taps = B, [system.D[index].numpy()]
    for _ in range(TAPS):
        taps.append((C @ state).real)
        state = A[:, None] * state
    return np.stack(taps)


@pytest.mark.parametrize("order", [5, 6])
@pytest.mark.parametrize("method", slow_but(["gradient", "modal"], METHODS))
def test_every_method_gives_stable_systems_and_their_errors(method: str, order: int) -> None:
    system = mimo()[None]
    reduced = reduce_system(system, order, method, TAPS)
    assert float(reduced.system.poles.abs().max()) < 1
    difference = taps_of(system, (0,)) - taps_of(reduced.system, (0,))
    assert float(reduced.error) == pytest.approx(np.linalg.norm(difference), rel=1e-6)
    if method == "gradient":
        assert float(reduced.error) <= float(reduce_system(system, order, "balanced", TAPS).error)
        assert float(reduced.relative_error) < 0.35


def test_all_states_together_imitate_growth_on_the_horizon() -> None:
    for system, largest in ((mimo(), 0.08), (squares(), 0.3)):
        full = reduce_system(system[None], 12, "gradient", TAPS)
        assert full.outcome_counts == {"repaired": 1}
        assert float(full.system.poles.abs().max()) < 1
        assert float(full.relative_error) < largest


def test_stable_channels_of_an_unstable_bank_stay_to_the_last_bit() -> None:
    system = bank()
    full = reduce_system(system, 6, "gradient", TAPS)
    assert full.outcome_counts == {"identity": 1, "repaired": 2}
    assert torch.equal(full.system.poles[2], system.poles[2])
    for channel in range(2):
        wanted = taps_of(system, (channel,))
        reached = np.linalg.norm(taps_of(full.system, (channel,)) - wanted)
        assert float(full.error[channel]) == pytest.approx(reached, rel=1e-6)
        assert reached < 0.1 * np.linalg.norm(wanted)


def test_the_infinite_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="on the infinite horizon only stable systems"):
        reduce_system(mimo()[None], 4, "gradient", None)


def test_blocks_that_stand_for_originals_compute_what_these_do() -> None:
    for system in (mimo(), reading_after(mimo())):
        block = block_of(system, exact=True).double()
        with pytest.raises(ValueError, match="only stable systems can become a block"):
            block_of(system)
        impulse = torch.zeros(1, TAPS + 1, 2, dtype=torch.float64)
        impulse[0, 0, 1] = 1.0
        with torch.no_grad():
            answer = block(impulse)[0].numpy()
        wanted = taps_of(system.paper_form())[:, :, 1]
        np.testing.assert_allclose(answer, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    channels = bank()
    impulses = torch.zeros(1, 3, TAPS + 1)
    impulses[..., 0] = 1.0
    with torch.no_grad():
        answers = block_of(channels, exact=True)(impulses)[0].numpy()
    for channel in range(3):
        wanted = taps_of(channels, (channel,))[:, 0, 0]
        np.testing.assert_allclose(answers[channel], wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
