"""Systems whose linear outputs read the state after the sample: what they compute, measured and summed by brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge.systems.mimo_form import from_mimo_sections, to_mimo_sections
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.peak_gain import hinf_norm
from ssm2edge.systems.response import frequency_response, impulse_response, simulate
from ssm2edge.systems.system import System, concatenate, from_conjugate_half, from_real_part, reading_after, stack

Array = NDArray[np.float64]


def normal(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(generator.standard_normal(shape) + 1j * generator.standard_normal(shape))


def matrices(inputs: int, outputs: int, modes: int = 3, seed: int = 0, D: str = "diagonal") -> System:
    """Real-part form with the given kind of D, its matrices as a layer stores them."""
    generator = np.random.default_rng(seed)
    poles = torch.from_numpy(generator.uniform(0.2, 0.9, modes) * np.exp(1j * generator.uniform(0.1, 3.0, modes)))
    full = torch.from_numpy(generator.standard_normal((outputs, inputs)))
    chosen = {"diagonal": full * torch.eye(outputs, inputs), "none": 0 * full, "full": full}[D]
    return from_real_part(poles, normal(generator, modes, inputs), normal(generator, outputs, modes), chosen)


def taps(layer: System, length: int) -> Array:
    """Impulse response of a layer with these matrices that reads the state after the sample, by its recurrence."""
    A, B, C, D = np.diag(layer.poles.numpy()), layer.B.numpy(), layer.C.numpy(), layer.D.numpy()
    found, x = [], B.copy()
    for k in range(length):
        found.append((C @ x).real + (D if k == 0 else 0))
        x = A @ x
    return np.stack(found, axis=-1)


@pytest.mark.parametrize(("inputs", "outputs", "D"), [(3, 3, "diagonal"), (3, 3, "none"), (2, 4, "none"), (3, 2, "full")])
def test_responses_and_norms_are_those_of_the_recurrence(inputs: int, outputs: int, D: str) -> None:
    layer = matrices(inputs, outputs, D=D)
    system, expected = reading_after(layer), taps(layer, 400)
    assert system.after_sample == (D != "full")
    np.testing.assert_allclose(impulse_response(system, 400).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(impulse_response(system.paper_form(), 400).numpy(), expected, atol=1e-12)
    for horizon in (1, 7, None):
        energy = np.square(expected[..., : 400 if horizon is None else horizon + 1]).sum()
        assert float(h2_norm(system, horizon)) == pytest.approx(energy**0.5, rel=1e-10)
    frequencies = np.linspace(0, np.pi, 200)
    response = np.einsum("pmk,kf->pmf", expected, np.exp(-1j * np.outer(np.arange(400), frequencies)))
    np.testing.assert_allclose(frequency_response(system, torch.from_numpy(frequencies)).numpy(), response, atol=1e-9)
    seen = np.linalg.norm(np.moveaxis(response, -1, 0), ord=2, axis=(1, 2)).max()
    assert seen * (1 - 1e-9) <= float(hinf_norm(system)) <= seen * 1.01
    u = np.random.default_rng(1).standard_normal((inputs, 30))
    wanted = sum(expected[..., j] @ np.pad(u, ((0, 0), (j, 0)))[:, :30] for j in range(30))
    np.testing.assert_allclose(simulate(system, torch.from_numpy(u))[0].numpy(), wanted, atol=1e-10)


def test_errors_between_the_forms_are_those_of_the_recurrences() -> None:
    one, other = matrices(3, 3, seed=1), matrices(3, 3, 2, seed=2)
    expected = np.sqrt(np.square(taps(one, 9) - taps(other, 9)).sum())
    for first in (reading_after(one), reading_after(one).paper_form()):
        for second in (reading_after(other), reading_after(other).paper_form()):
            assert float(h2_error(first, second, 8)) == pytest.approx(expected, rel=1e-10)


def test_squares_read_the_state_before_the_sample() -> None:
    layer = matrices(2, 2)
    rows = torch.ones(2, layer.order, dtype=torch.complex128)
    layer = replace(layer, M=torch.einsum("pi,pj->pij", rows, rows))
    u = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    linear = taps(layer, 3)[:, 0]
    first, x = np.zeros(2), layer.B.numpy()[:, 0].sum()
    squares = np.stack(
        [first, np.full(2, (x**2).real), np.full(2, ((layer.poles.numpy() * layer.B.numpy()[:, 0]).sum() ** 2).real)]
    )
    np.testing.assert_allclose(simulate(reading_after(layer), u)[0].numpy(), linear + squares.T, atol=1e-12)


@pytest.mark.parametrize("D", ["diagonal", "none"])
def test_real_form_keeps_what_outputs_read(D: str) -> None:
    system = reading_after(matrices(3, 3, D=D))
    sections = to_mimo_sections(system)
    assert sections.after_sample
    assert (sections.feedthrough is None) == (D == "none")
    back = from_mimo_sections(sections)
    assert back.after_sample
    assert torch.equal(back.D, system.D)
    np.testing.assert_allclose(impulse_response(back, 20).numpy(), impulse_response(system, 20).numpy(), atol=1e-10)


def test_channels_and_full_feedthroughs_are_written_in_paper_form() -> None:
    one = from_conjugate_half(
        *(torch.ones(shape, dtype=torch.complex128) / 2 for shape in ((1,), (1, 1), (1, 1))), torch.zeros(1, 1)
    )
    assert not reading_after(one).after_sample
    with pytest.raises(ValueError, match="paper form"):
        replace(one, after_sample=True)
    with pytest.raises(ValueError, match="paper form"):
        replace(matrices(2, 2, D="full"), after_sample=True)


def test_the_forms_are_kept_by_selections_and_not_mixed() -> None:
    system = reading_after(matrices(2, 2))
    assert stack([system, system])[0].after_sample
    assert concatenate([stack([system]), stack([system])]).after_sample
    for together in (stack, concatenate):
        with pytest.raises(ValueError, match="cannot be put together"):
            together([stack([system]), stack([system.paper_form()])])


@pytest.mark.parametrize("D", ["diagonal", "full"])
def test_a_simulation_goes_on_from_the_state_that_it_returned(D: str) -> None:
    system = reading_after(matrices(3, 3, D=D))
    u = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 25)))
    whole, last = simulate(system, u)
    first, state = simulate(system, u[:, :9])
    second, end = simulate(system, u[:, 9:], state)
    torch.testing.assert_close(torch.cat((first, second), -1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=0, atol=1e-12)
