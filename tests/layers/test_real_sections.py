"""The unit-input real form is the system it was written from, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.real_form import RealSections, from_real_sections, to_real_sections
from ssm2edge.systems.system import System
from tests.random_banks import random_bank, response_of


def recurrence(sections: RealSections, length: int) -> NDArray[np.float64]:
    """Impulse responses ``[channels, length]`` of the form, sample by sample, with dense 2 x 2 sections."""
    a, b, c, d = (x.detach().double().numpy() for x in (sections.a, sections.b, sections.c, sections.d))
    responses = []
    for channel in range(len(a)):
        A = np.diag(a[channel])
        for j in range(0, a.shape[1] - 1, 2):
            A[j, j + 1], A[j + 1, j] = b[channel, j], b[channel, j + 1]
        x, taps = np.zeros(a.shape[1]), []
        for k in range(length):
            u = float(k == 0)
            taps.append(c[channel] @ x + d[channel] * u)
            x = A @ x + u
        responses.append(taps)
    return np.array(responses)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, 8])
def test_recurrence_is_the_impulse_response(order: int) -> None:
    system = random_bank(6, order, seed=order)
    np.testing.assert_allclose(recurrence(to_real_sections(system), 40), response_of(system, 40), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("order", [1, 2, 5, 8])
def test_round_trip_gives_the_same_system(order: int) -> None:
    system = random_bank(6, order, seed=order)
    again = from_real_sections(to_real_sections(system))
    torch.testing.assert_close(again.poles, system.poles, rtol=0, atol=1e-15)
    torch.testing.assert_close(again.residues, system.residues, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(again.D, system.D, rtol=0, atol=0)


def test_sections_that_turn_the_other_way_are_read_in_canonical_order() -> None:
    sections = to_real_sections(random_bank(5, 6, pairs=2))
    turned = RealSections(a=sections.a, b=-sections.b, c=sections.c, d=sections.d)
    system = from_real_sections(turned)
    assert (system.poles[:, :4:2].imag > 0).all()
    np.testing.assert_allclose(response_of(system, 30), recurrence(turned, 30), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(recurrence(to_real_sections(system), 30), recurrence(turned, 30), rtol=1e-10, atol=1e-11)


def test_scaled_inputs_fold_into_the_output() -> None:
    system = random_bank(3, 4)
    gains = torch.tensor([2.0, 0.5 + 1j, 0.5 - 1j, 3.0], dtype=torch.complex128)
    gains = torch.where(system.poles.imag != 0, torch.stack([gains[1], gains[2]] * 2), torch.full_like(system.poles, 2.0))
    scaled = System(system.poles, system.B * gains[..., None], system.C / gains[:, None, :], system.D)
    for name in ("a", "b", "c", "d"):
        torch.testing.assert_close(getattr(to_real_sections(scaled), name), getattr(to_real_sections(system), name))


@pytest.mark.parametrize("order", [1, 2, 5, 6])
def test_swapping_twice_changes_nothing(order: int) -> None:
    swap = np.array(swap_indices(order))
    assert sorted(swap) == list(range(order))
    assert (swap[swap] == np.arange(order)).all()
    assert (swap // 2 == np.arange(order) // 2).all()
    assert (swap != np.arange(order)).sum() == order - order % 2
