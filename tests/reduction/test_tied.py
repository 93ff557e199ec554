"""Tied banks are reduced with what they share, and stay tied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.tied import reduce_tied, shares_poles
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.tie import Tie, pairs_upright
from tests.random_banks import random_bank, response_of
from tests.slow_cases import slow

CHANNELS, ORDER, TAPS = 5, 9, 50


def tied_bank(steps: tuple[float, ...], pairs: int = 4, groups: int = 1, rule: str = "power") -> System:
    """Channels with random residues on shared poles, each at its step."""
    generator = random_bank(groups, ORDER, seed=3, pairs=pairs).poles
    generator = torch.where(generator.imag == 0, generator.abs().to(generator), generator)
    tie = Tie(generator, torch.arange(len(steps)) % groups, torch.tensor(steps, dtype=torch.float64), rule)
    several = random_bank(len(steps), ORDER, seed=4, pairs=pairs)
    poles, residues = pairs_upright(tie.poles(), several.residues)
    return System(poles, torch.ones_like(poles)[..., None], residues[:, None], several.D, tie=tie)


EQUAL, OWN = (1.0,) * CHANNELS, (1.0, 0.5, 1.7, 2.0, 1.3)
BANKS = [
    (EQUAL, {}),
    (OWN, {}),
    (OWN, {"rule": "bilinear"}),
    ((1.0, 1.0, 1.5, 2.0, 1.3, 1.0), {"groups": 3}),
    (EQUAL, {"pairs": 3}),
]


@pytest.mark.parametrize(("steps", "options"), BANKS, ids=str)
@pytest.mark.parametrize("method", ["gradient", "balanced", "tlh2", "aire"])
@pytest.mark.parametrize("order", [slow(1), slow(4), 5, slow(ORDER)])
def test_reduced_banks_follow_from_shared_poles_and_errors_are_those_of_the_kernels(
    steps: tuple[float, ...], options: dict[str, object], order: int, method: str
) -> None:
    bank = tied_bank(steps, **options)  # type: ignore[arg-type]  # options are of the types that the function has
    reduction = reduce_tied(bank, order, method, TAPS)
    reduced = reduction.system
    assert reduced.order == order
    assert reduced.tie is not None
    assert len(reduced.tie.generator) == len(bank.tie.generator)  # type: ignore[union-attr]  # made with one above
    followed = pairs_upright(reduced.tie.poles(), reduced.tie.poles())[0]
    assert torch.allclose(followed, reduced.poles, rtol=0, atol=1e-12)
    difference = response_of(bank, TAPS + 1) - response_of(reduced, TAPS + 1)
    expected = np.linalg.norm(difference, axis=1)
    np.testing.assert_allclose(reduction.error.numpy(), expected, rtol=1e-5, atol=1e-6)
    scale = np.linalg.norm(response_of(bank, TAPS + 1), axis=1)
    np.testing.assert_allclose(reduction.relative_error.numpy(), expected / scale, rtol=1e-5, atol=1e-6)
    if method == "gradient" and order < ORDER:
        direct = reduce_tied(bank, order, "balanced", TAPS)
        assert float(reduction.error.square().sum()) <= float(direct.error.square().sum()) * (1 + 1e-6)


@pytest.mark.parametrize("steps", [EQUAL, OWN])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_no_small_change_of_the_shared_poles_lowers_the_sum_of_squared_errors(steps: tuple[float, ...], order: int) -> None:
    bank = tied_bank(steps)
    reduced = reduce_tied(bank, order, "gradient", TAPS).system
    assert reduced.tie is not None
    expected = response_of(bank, TAPS + 1)[:, 1:]

    def best(generator: np.ndarray) -> float:
        # Residues are fitted anew by least squares on the taps, channel by channel.
        total = 0.0
        for taps, step in zip(expected, reduced.tie.steps.numpy(), strict=True):
            sign = np.where((generator.imag == 0) & (generator.real < 0), -1.0, 1.0)
            poles = sign * np.exp(step * np.log(np.where(sign < 0, -generator, generator)))
            modes = poles[None] ** np.arange(TAPS)[:, None]
            columns = np.concatenate([modes.real, modes.imag], axis=1)
            fitted = columns @ np.linalg.lstsq(columns, taps, rcond=1e-12)[0]
            total += float(((fitted - taps) ** 2).sum())
        return total

    start = reduced.tie.generator[0].numpy()
    reached = best(start)
    for place in range(order):
        for step in (1e-3, -1e-3, 1e-3j, -1e-3j):
            moved = start.copy()
            if moved[place].imag == 0:
                moved[place] *= 1 + step.real
            else:
                moved[place] *= 1 + step
                moved[place ^ 1] = moved[place].conj()
            assert best(moved) >= reached * (1 - 1e-6)


def test_poles_are_shared_where_a_bank_would_otherwise_grow() -> None:
    bank = tied_bank(OWN)
    own = ORDER + CHANNELS + CHANNELS * (ORDER + 1)
    assert bank.tie is not None
    assert bank.tie.numbers(ORDER) == own
    for order in range(1, ORDER + 1):
        assert shares_poles(bank, order) == (CHANNELS * (2 * order + 1) > CHANNELS * (ORDER + 1))
        reduced = reduce_layers({"layer": bank}, {"layer": order}, "balanced", TAPS)["layer"].system
        assert (reduced.tie is not None) == shares_poles(bank, order)
        needed = CHANNELS * (2 * order + 1) if reduced.tie is None else reduced.tie.numbers(order)
        assert needed <= own, order
    assert not shares_poles(siso_bank(bank.poles, bank.residues, bank.D[:, 0, 0]), ORDER)


def test_channel_by_channel_errs_less_at_the_same_order_for_more_numbers() -> None:
    bank = tied_bank(OWN)
    tied, untied = reduce_tied(bank, 4, "gradient", TAPS), reduce_system(bank, 4, "gradient", TAPS)
    assert untied.system.tie is None
    assert float(untied.error.norm()) <= float(tied.error.norm())


def test_banks_with_poles_of_their_own_are_refused() -> None:
    with pytest.raises(ValueError, match="poles of their own"):
        reduce_tied(random_bank(3, 4), 2)
