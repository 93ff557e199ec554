"""Reductions of systems whose outputs read the state after the sample: lag zero counts like all others, and nothing is filled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ssm2edge.reduction import METHODS, reduce_system
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System, from_real_part, reading_after

KEEP_DC = {"singular_perturbation", "modal_singular_perturbation"}


def layer(width: int = 5, modes: int = 6, seed: int = 0, slow: float = 0.95) -> System:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.standard_normal(shape) + 1j * generator.standard_normal(shape))

    poles = torch.from_numpy(generator.uniform(0.1, slow, modes) * np.exp(1j * generator.uniform(0.1, 3.0, modes)))
    D = torch.from_numpy(np.diag(generator.standard_normal(width)))
    return reading_after(from_real_part(poles, normal(modes, width), normal(width, modes), D))


def distance(one: System, other: System, lags: int) -> float:
    return float((impulse_response(one, lags) - impulse_response(other, lags)).norm())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [20, None])
def test_every_method_keeps_the_form_and_tells_its_error_on_all_lags(method: str, horizon: int | None) -> None:
    system = layer()
    for order in (3, 6, system.order):
        result = reduce_system(system[None], order, method, horizon)
        reduced = result.system[0]
        assert result.horizon == horizon
        assert float(result.error) == pytest.approx(
            distance(system, reduced, 600 if horizon is None else horizon + 1), rel=1e-6, abs=1e-9
        )
        # What keeps the gain at frequency zero does it by a full feedthrough.
        assert reduced.after_sample == (method not in KEEP_DC or order == system.order)
        if reduced.after_sample:
            assert torch.equal(reduced.D, system.D)
        elif method in KEEP_DC:
            gains = [impulse_response(s, 600).sum(-1) for s in (system, reduced)]
            np.testing.assert_allclose(gains[1].numpy(), gains[0].numpy(), atol=1e-6)


@pytest.mark.slow
def test_the_smallest_error_is_that_of_the_advanced_system() -> None:
    system = layer(seed=3)
    advanced = replace(system, after_sample=False, D=torch.zeros_like(system.D))
    here, there = (reduce_system(s[None], 4, "gradient", None) for s in (system, advanced))
    assert float(here.error) == pytest.approx(float(there.error), rel=1e-6)


def test_squares_are_reduced_with_it() -> None:
    system = layer(3, 3)
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 3))) + 0.3j
    forms = torch.stack((rows, rows.conj()), dim=-1).flatten(-2)
    system = replace(system, M=torch.einsum("pi,pj->pij", forms, forms))
    result = reduce_system(system[None], 4, "gradient", None)
    assert result.system.after_sample
    assert float(result.error) <= float(reduce_system(system[None], 4, "balanced", None).error) * (1 + 1e-9)


def test_layers_of_both_forms_go_by_themselves() -> None:
    systems = {"after": layer(), "before": layer().paper_form(), "again": layer(seed=1)}
    reduced = reduce_layers(systems, dict.fromkeys(systems, 4), "balanced", None)
    assert {name: x.system.after_sample for name, x in reduced.items()} == {"after": True, "before": False, "again": True}
    for name, system in systems.items():
        alone = reduce_system(system[None], 4, "balanced", None)
        assert float(reduced[name].error) == pytest.approx(float(alone.error), rel=1e-9)
