"""LRUs of the PyPI package lru-pytorch, and in the other spellings of the published unit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from LRU_pytorch import LRU
from torch import Tensor, nn

from models.sysid.model import scan
from ssm2edge.layers import LayerError, exportable, find_layers
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.response import simulate
from tests.layer_answers import answers, full_order, noise, relative

STATES, INPUTS, OUTPUTS = 6, 4, 3


def packaged(inputs: int = INPUTS, outputs: int = OUTPUTS) -> LRU:
    torch.manual_seed(0)
    return LRU(inputs, outputs, STATES, rmin=0.5, rmax=0.98).eval()


class Spelled(nn.Module):
    """The published unit with its parameters stored as a test says."""

    def __init__(
        self,
        stored: Callable[[str, Tensor], dict[str, Tensor]] = lambda name, value: {name: value},
        skip: Callable[[Tensor], Tensor | None] = lambda D: D,
        gains: str = "stored",
        square: bool = False,
    ) -> None:
        super().__init__()
        unit = packaged(INPUTS, INPUTS if square else OUTPUTS)
        self.modulus = -unit.nu_log.detach().exp()
        self.poles = torch.exp(torch.complex(self.modulus, unit.theta_log.detach().exp()))
        self.matrices = unit.B.detach(), unit.C.detach()
        self.skip = skip(unit.D.detach())
        gamma = (1 - self.poles.abs().square()).sqrt()
        if gains == "none":
            gamma = torch.ones_like(gamma)
        elif gains == "stored":
            gamma = gamma * 1.5
        elif gains == "halved":
            gamma = gamma / 2
        self.gamma = gamma
        values = {"nu_log": unit.nu_log, "theta_log": unit.theta_log, "B": unit.B, "C": unit.C}
        if gains == "stored":
            values["gamma_log"] = gamma.log()
        for name, value in values.items():
            for place, part in stored(name, value.detach()).items():
                setattr(self, place, nn.Parameter(part))
        if self.skip is not None:
            self.D = nn.Parameter(self.skip)

    def forward(self, u: Tensor) -> Tensor:
        B, C = self.matrices
        y = (scan(self.poles, (u.to(B.dtype) @ B.mT) * self.gamma) @ C.mT).real
        if self.skip is None:
            return y
        return y + (u @ self.skip.mT if self.skip.ndim == 2 else u * self.skip)


def in_two(first: str, second: str) -> Callable[[str, Tensor], dict[str, Tensor]]:
    def stored(name: str, value: Tensor) -> dict[str, Tensor]:
        return {name + first: value.real.clone(), name + second: value.imag.clone()} if value.is_complex() else {name: value}

    return stored


def last_axis(name: str, value: Tensor) -> dict[str, Tensor]:
    return {name: torch.view_as_real(value).clone() if value.is_complex() else value}


def logarithm_first(name: str, value: Tensor) -> dict[str, Tensor]:
    return {f"log_{name.removesuffix('_log')}" if name.endswith("_log") else name: value}


def columns(name: str, value: Tensor) -> dict[str, Tensor]:
    return {name: value[:, None] if value.ndim == 1 else value}


MODELS: dict[str, nn.Module] = {
    "as published": Spelled(),
    "re and im": Spelled(in_two("_re", "_im")),
    "real and imag": Spelled(in_two("_real", "_imag")),
    "last axis": Spelled(last_axis),
    "log first": Spelled(logarithm_first),
    "columns": Spelled(columns),
    "vector skip": Spelled(skip=lambda D: D.diagonal().clone(), square=True),
    "number as skip": Spelled(skip=lambda D: D[0, 0].clone(), square=True),
    "no skip": Spelled(skip=lambda D: None),
    "normalised in forward": Spelled(gains="computed"),
    "not normalised": Spelled(gains="none"),
    "lru-pytorch": packaged(),
}


@pytest.mark.parametrize("name", MODELS)
def test_system_block_and_exported_form_are_the_layer(name: str) -> None:
    model = MODELS[name]
    (found,) = find_layers(model)
    assert (found.library, found.kind, found.system.order) == ("LRU", "MIMO", 2 * STATES)
    replaced = full_order(model)
    for length in (1, 2, 150):
        u = noise(2, length, INPUTS)
        expected = answers(model, u)
        assert relative(simulate(found.system, u.double().mT)[0].mT, expected) < 1e-5
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("gains", ["stored", "computed"])
def test_poles_of_no_frequency_are_real(gains: str) -> None:
    model = Spelled(gains=gains)
    model.poles = torch.where(torch.arange(STATES) % 2 == 0, model.poles, model.poles.abs())
    with torch.no_grad():
        model.theta_log[1::2] = -math.inf
    (found,) = find_layers(model)
    assert int((found.system.poles.imag == 0).sum()) == STATES
    replaced = full_order(model)
    u = noise(2, 150, INPUTS)
    expected = answers(model, u)
    assert relative(answers(replaced, u), expected) < 1e-5
    assert relative(answers(exportable(replaced), u), expected) < 1e-5
    reduced = reduce_system(found.system[None], STATES + 2, "balanced", 150).system[0]
    assert relative(simulate(reduced, u.double().mT)[0].mT, expected) < 0.1


@pytest.mark.parametrize(
    ("name", "value"), [("theta_log", math.inf), ("nu_log", math.nan), ("gamma_log", math.inf), ("nu_log", -math.inf)]
)
def test_other_values_that_are_not_finite_are_refused_by_name(name: str, value: float) -> None:
    model = Spelled()
    with torch.no_grad():
        getattr(model, name)[2] = value
    with pytest.raises(LayerError, match="is not stable" if value == -math.inf else f"{name} holds NaN or infinite"):
        find_layers(model)


def test_one_sequence_without_a_batch_is_taken_as_the_package_takes_it() -> None:
    model, u = packaged(), noise(40, INPUTS)
    expected = answers(model, u)
    assert expected.shape == (40, OUTPUTS)
    replaced = full_order(model)
    assert relative(answers(replaced, u), expected) < 1e-5
    assert relative(answers(exportable(replaced), u), expected) < 1e-5


def test_states_that_are_handed_in_are_refused_by_name() -> None:
    replaced = full_order(packaged())
    with torch.no_grad():
        u = noise(2, 9, INPUTS)
        assert relative(replaced(u, state=None), packaged()(u, state=None)) < 1e-5
    with pytest.raises(LayerError, match=r"\(LRU\) is called with state"):
        replaced(noise(2, 9, INPUTS), torch.zeros(STATES, dtype=torch.complex64))


def test_normalisations_that_nobody_knows_are_refused() -> None:
    with pytest.raises(LayerError, match="has no gamma_log, and its forward scales its input neither"):
        find_layers(nn.Sequential(Spelled(gains="halved")))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("D", torch.zeros(2), "not the shapes"),
        ("B", torch.zeros(STATES, 7, 2), "not the shapes"),
        ("theta_log", torch.tensor(math.nan), "NaN"),
    ],
)
def test_broken_units_are_refused_by_name(name: str, value: Any, words: str) -> None:
    model = copy.deepcopy(MODELS["as published"])
    setattr(model, name, nn.Parameter(value))
    with pytest.raises(LayerError, match=words):
        find_layers(nn.Sequential(model))
