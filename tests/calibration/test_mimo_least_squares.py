"""Outputs of one system fitted on its samples: numpy's least squares, no worse than the reduction, finite if silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from ssm2edge.calibration import Signals
from ssm2edge.calibration.mimo_least_squares import calibrated_mimo
from ssm2edge.calibration.signals import Place
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import ReducedMimo, replace_layers
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.system import System
from tests.coloured_signals import follower, reduced_to, sequences, systems_of
from tests.slow_cases import slow

FIRST, SECOND = "layers.0.lru", "layers.1.lru"


class Fitted:
    """The second of two LRUs, fitted behind a reduced first one."""

    def __init__(
        self, rank: int, order: int, signals: Signals | None = None, method: str = "balanced", full: bool = False
    ) -> None:
        model = follower(rank)
        systems = {name: system.paper_form() if full else system for name, system in systems_of(model).items()}
        self.system = systems[SECOND]
        self.reduced = reduce_system(self.system, order, "balanced").system
        network = replace_layers(model, systems | {FIRST: reduced_to(systems, 2)[FIRST]}).eval()
        signals = signals or sequences(12, at_once=5)
        original = Teacher(model, systems).network
        self.result = calibrated_mimo(Place(original, network, SECOND, 1, signals), self.system, self.reduced, method)
        self.u, u_original = (self.entering(x, signals.inputs[0]) for x in (network, original))
        self.wanted = self.answer(self.system, u_original)

    @staticmethod
    def entering(network: torch.nn.Module, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            z: Tensor = network.layers[0](network.encoder(inputs))
        return z

    @staticmethod
    def answer(system: System, u: Tensor) -> np.ndarray:
        with torch.no_grad():
            return ReducedMimo(system)(u).double().numpy()

    def error(self, system: System) -> float:
        """Squared error on the samples, relative to what is wanted."""
        return float(np.square(self.answer(system, self.u) - self.wanted).sum() / np.square(self.wanted).sum())

    def least(self, system: System) -> float:
        """The same with the best coefficients of the system's states, inputs and squares, output by output."""
        with torch.no_grad():
            features = ReducedMimo(system).features(self.u).double().flatten(0, 1).numpy()
        goal = self.wanted.reshape(len(features), -1)
        rest = np.empty_like(goal)
        for output in range(goal.shape[1]):
            own = [self.u.double().flatten(0, 1).numpy()[:, [output]]] if system.after_sample else []
            known = np.concatenate([features, *own], axis=1)
            rest[:, output] = goal[:, output] - known @ np.linalg.lstsq(known, goal[:, output], rcond=1e-9)[0]
        return float(np.square(rest).sum() / np.square(goal).sum())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("order", [1, slow(2), slow(3), 4])
def test_result_is_no_worse_than_the_reduction_with_its_own_or_its_best_outputs(rank: int, order: int, full: bool) -> None:
    fitted = Fitted(rank, order, full=full)
    assert fitted.result.after_sample != full
    error = fitted.error(fitted.result)
    assert fitted.result.order == order
    assert float(fitted.result.poles.abs().max()) < 1
    assert error <= fitted.least(fitted.reduced) * 1.01 + 1e-6
    assert error < 0.9 * fitted.error(fitted.reduced)


def reduced_for_the_inputs(fitted: Fitted, order: int) -> System:
    """Balanced truncation of the system driven by white noise that is given the covariance of its inputs."""
    rows = fitted.u.double().flatten(0, 1).numpy()
    root = np.real(sqrtm(rows.T @ rows / len(rows)))
    parts = (torch.from_numpy(x).to(torch.complex128) for x in (root, np.linalg.inv(root)))
    forth, back = parts
    system = replace(fitted.system, D=torch.zeros_like(fitted.system.D))
    reduced = reduce_system(replace(system, B=system.B @ forth), order, "balanced", None).system
    return replace(reduced, B=reduced.B @ back)


@pytest.mark.parametrize("rank", [0, 2])
def test_poles_are_those_of_the_reduction_for_the_inputs_where_they_err_less(rank: int) -> None:
    gains = []
    for order in (1, 2, 3):
        fitted = Fitted(rank, order, full=True)
        white, coloured = (fitted.least(x) for x in (fitted.reduced, reduced_for_the_inputs(fitted, order)))
        assert fitted.error(fitted.result) <= min(white, coloured) * 1.01 + 1e-6
        gains.append(coloured / white)
    assert min(gains) < 0.9


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("order", [2, 3])
def test_outputs_are_those_of_numpys_least_squares(rank: int, order: int, full: bool) -> None:
    fitted = Fitted(rank, order, full=full)
    assert fitted.error(fitted.result) == pytest.approx(fitted.least(fitted.result), rel=1e-2, abs=1e-6)


def test_batches_of_any_size_give_the_same() -> None:
    results = [Fitted(2, 3, sequences(12, at_once=n)) for n in (1, 12)]
    errors = [results[0].error(x.result) for x in results]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_silent_inputs_leave_the_reduction_as_it_is() -> None:
    model = follower(0)
    system = systems_of(model)[FIRST]
    reduced = reduce_system(system, 3, "balanced").system
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.bias.zero_()
    systems = systems_of(model)
    network = replace_layers(model, systems).eval()
    place = Place(Teacher(model, systems).network, network, FIRST, 1, sequences(6))
    result = calibrated_mimo(place, system, reduced, "balanced")
    assert float(result.poles.abs().max()) < 1
    for value in (result.B, result.C):
        assert torch.isfinite(torch.view_as_real(value)).all()
    u = sequences(3).inputs[0].expand(-1, -1, 4)
    np.testing.assert_allclose(Fitted.answer(result, u), Fitted.answer(reduced, u), atol=1e-4)
