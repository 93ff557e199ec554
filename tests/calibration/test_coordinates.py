"""Coordinates of a block: finite differences, nothing moved at zero, and poles inside the disc however far a step goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.calibration import Signals
from ssm2edge.calibration.coordinates import BankCoordinates, Coordinates, kernel_jacobian
from ssm2edge.calibration.mimo_coordinates import MimoCoordinates
from ssm2edge.calibration.signals import Place
from ssm2edge.layers import ReducedBank, ReducedMimo, blocks, dynamics, replace_layers
from tests.coloured_signals import coloured, follower, reduced_to, sequences, systems_of
from tests.random_banks import random_bank

LENGTH = 20


def parameters_of(bank: ReducedBank) -> list[np.ndarray]:
    return [p.detach().double().numpy().copy() for p in (bank.dynamics, bank.output, bank.feedthrough)]


def kernel_by_recurrence(bank: ReducedBank, nu: np.ndarray, output: np.ndarray, feedthrough: np.ndarray) -> np.ndarray:
    """Impulse responses ``[channels, length]`` state by state, from parameters in place of the bank's, without rounding."""
    paired, signs = bank.paired.numpy(), bank.signs.numpy()
    kernel = np.zeros((len(nu), LENGTH))
    for channel in range(len(nu)):
        order = nu.shape[1]
        A = np.diag(signs[channel] * np.exp(-np.exp(nu[channel])))
        for j in range(0, order - 1, 2):
            if paired[channel, j]:
                radius, angle = np.exp(-np.exp(nu[channel, j])), nu[channel, j + 1]
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                A[j : j + 2, j : j + 2] = radius * turn
        state = np.ones(order)
        kernel[channel, 0] = feedthrough[channel]
        for k in range(1, LENGTH):
            kernel[channel, k] = output[channel] @ state
            state = A @ state
    return kernel


@pytest.mark.parametrize("order", [1, 2, 5])
def test_jacobian_agrees_with_finite_differences_of_the_recurrence(order: int) -> None:
    bank = ReducedBank(random_bank(4, order, seed=order, largest=0.9))
    parameters = parameters_of(bank)
    np.testing.assert_allclose(bank.kernel(LENGTH).detach().numpy(), kernel_by_recurrence(bank, *parameters), atol=1e-5)
    rows = []
    for which, values in enumerate(parameters):
        for j in range(order if values.ndim == 2 else 1):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in parameters]
                moved[which].reshape(4, -1)[:, j] += sign * 1e-5
                sides.append(kernel_by_recurrence(bank, *moved))
            rows.append((sides[0] - sides[1]) / 2e-5)
    expected = np.stack(rows, axis=1)
    np.testing.assert_allclose(kernel_jacobian(bank, LENGTH).numpy(), expected, atol=1e-4 * np.abs(expected).max())


def bank_coordinates(order: int) -> tuple[ReducedBank, BankCoordinates, Callable[[], Tensor]]:
    """A bank in float64, its coordinates, and a loss of its kernels."""
    bank = ReducedBank(random_bank(4, order, seed=order, largest=0.9)).double()
    spectrum = np.abs(np.fft.rfft(coloured(10, 4, LENGTH), n=2 * LENGTH)) ** 2
    coordinates = BankCoordinates(bank, torch.from_numpy(spectrum.mean(0)).double())
    weights = torch.randn(4, LENGTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return bank, coordinates, lambda: (bank.kernel(LENGTH) * weights).sum() + bank.kernel(LENGTH).square().sum()


def mimo_coordinates(rank: int, order: int = 4, full: bool = False) -> tuple[ReducedMimo, MimoCoordinates, Callable[[], Tensor]]:
    """A block of a network in float64, its coordinates, and a loss of its outputs."""
    model = follower(rank)
    systems = {name: system.paper_form() if full else system for name, system in systems_of(model).items()}
    network = replace_layers(model, reduced_to(systems, order)).eval().requires_grad_(False).double()
    block = blocks(network)["layers.1.lru"]
    assert isinstance(block, ReducedMimo)
    assert (block.factors is not None) == (rank > 0)
    signals = Signals([sequences(6).inputs[0].double()], 4, LENGTH)
    coordinates = MimoCoordinates(block, Place(network, network, "layers.1.lru", 1, signals))
    block.requires_grad_(True)
    u = torch.from_numpy(coloured(2, 4, LENGTH)).double().mT
    weights = torch.randn(2, LENGTH, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return block, coordinates, lambda: (block(u) * weights).sum() + block(u).square().sum()


CASES: dict[str, Callable[[], tuple[nn.Module, Coordinates, Callable[[], Tensor]]]] = {
    "order 1": lambda: bank_coordinates(1),
    "order 4": lambda: bank_coordinates(4),
    "order 5": lambda: bank_coordinates(5),
    "MIMO": lambda: mimo_coordinates(0),
    "MIMO with a full feedthrough": lambda: mimo_coordinates(2, full=True),
    "MIMO of odd order": lambda: mimo_coordinates(0, 3),
    "MIMO with quadratic outputs": lambda: mimo_coordinates(2),
}


def step_to(coordinates: Coordinates, values: Tensor) -> None:
    with torch.no_grad():
        coordinates.point.copy_(values)
    coordinates.push()


@pytest.mark.parametrize("case", CASES)
def test_pulled_gradient_agrees_with_finite_differences_along_the_coordinates(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Poles rounded to float32 would be steps in the finite differences.
    monkeypatch.setattr(dynamics, "_rounded", lambda values: values)
    _, coordinates, loss = CASES[case]()
    torch.autograd.backward(loss())
    coordinates.pull()
    gradient = coordinates.point.grad
    assert gradient is not None
    generator = torch.Generator().manual_seed(3)
    for _ in range(6):
        direction = torch.randn(coordinates.point.shape, generator=generator, dtype=torch.float64)
        sides = []
        for sign in (1, -1):
            step_to(coordinates, sign * 1e-6 * direction)
            sides.append(float(loss().detach()))
        expected = float((gradient * direction).sum())
        scale = float(gradient.norm() * direction.norm())
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(expected, abs=1e-5 * scale)


@pytest.mark.parametrize("case", CASES)
def test_nothing_moves_at_zero_and_everything_moves_elsewhere(case: str) -> None:
    block, coordinates, _ = CASES[case]()
    block.float()
    before = {name: x.clone() for name, x in block.state_dict().items()}
    coordinates.push()
    assert all(torch.equal(x, before[name]) for name, x in block.state_dict().items())
    step_to(coordinates, torch.full_like(coordinates.point, 0.1))
    moved = {name for name, x in block.state_dict().items() if not torch.equal(x, before[name])}
    assert moved == {name for name, _ in block.named_parameters()}
    step_to(coordinates, torch.zeros_like(coordinates.point))
    assert all(torch.equal(x, before[name]) for name, x in block.state_dict().items())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_poles_stay_inside_the_disc_after_huge_steps(case: str, size: float) -> None:
    block, coordinates, _ = CASES[case]()
    block.float()
    generator = torch.Generator().manual_seed(4)
    for sign in (1, -1):
        step_to(coordinates, sign * size * torch.randn(coordinates.point.shape, generator=generator, dtype=torch.float64))
        system = block.system()
        assert float(system.poles.abs().max()) < 1
        for value in (system.poles, system.B, system.C):
            assert torch.isfinite(torch.view_as_real(value)).all()


def test_a_step_of_length_one_changes_no_output_by_more_than_it_has() -> None:
    bank, coordinates, _ = bank_coordinates(5)
    spectrum = np.abs(np.fft.rfft(coloured(10, 4, LENGTH), n=2 * LENGTH)) ** 2
    weight = spectrum.mean(0) * np.r_[1, np.full(LENGTH - 1, 2), 1]
    start = kernel_by_recurrence(bank, *parameters_of(bank))

    def size(kernel: np.ndarray) -> np.ndarray:
        return np.sqrt((np.abs(np.fft.rfft(kernel, n=2 * LENGTH)) ** 2 * weight).sum(-1))

    generator, largest = torch.Generator().manual_seed(5), np.zeros(4)
    for _ in range(30):
        direction = torch.randn(coordinates.point.shape, generator=generator, dtype=torch.float64)
        step_to(coordinates, 1e-5 * direction / direction.norm(dim=-1, keepdim=True))
        change = size(kernel_by_recurrence(bank, *parameters_of(bank)) - start) / size(start) / 1e-5
        assert (change <= 1.01).all()
        largest = np.maximum(largest, change)
    assert (largest > 0.3).all()
