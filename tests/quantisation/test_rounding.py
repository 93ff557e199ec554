"""Rounding of a network's weights: what is rounded, and errors that cancel for the inputs that there are."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssm2edge.quantisation import bytes_by_precision, halve, inputs_of, round_weights, small_weights_of, steps_of, weights_of
from ssm2edge.quantisation.compensated import compensated
from ssm2edge.quantisation.grid import grid_of


def correlated(count: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    sizes = torch.logspace(0, -2, columns, dtype=torch.float64)[:, None]
    return torch.randn(count, columns, generator=generator, dtype=torch.float64) @ (sizes * mix)


def error(matrix: Tensor, rounded: Tensor, inputs: Tensor) -> float:
    return float((inputs @ (matrix - rounded).mT).square().sum())


@settings(deadline=None)
@given(bits=st.sampled_from([3, 4, 8]), columns=st.sampled_from([8, 16, 40]), seed=st.integers(0, 99))
def test_errors_cancel_on_the_inputs(bits: int, columns: int, seed: int) -> None:
    inputs = correlated(500, columns, seed)
    matrix = torch.randn(6, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    steps = steps_of(matrix, bits)
    rounded = compensated(matrix, steps, inputs.mT @ inputs / len(inputs))
    assert bool((steps.nearest(rounded) == rounded).all())
    assert error(matrix, rounded, inputs) < 0.8 * error(matrix, steps.nearest(matrix), inputs)


def test_a_quarter_of_what_the_best_of_all_integers_gains_is_gained() -> None:
    best = found = plain = 0.0
    choices = torch.tensor(list(itertools.product(range(-8, 8), repeat=3)), dtype=torch.float64)
    # Twelve rows show a half or more by chance; a hundred and twenty do not.
    for seed in range(120):
        inputs = correlated(300, 3, seed)
        row = torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        steps = steps_of(row, 4)
        best += float((inputs @ (row - choices * steps.sizes).mT).square().sum(0).min())
        found += error(row, compensated(row, steps, inputs.mT @ inputs / 300), inputs)
        plain += error(row, steps.nearest(row), inputs)
    assert found - best < 0.75 * (plain - best)


def test_what_has_fewer_bits_keeps_them() -> None:
    """A model that was compressed with bits of each weight's own is rounded again when it is built."""
    for bits, asked in itertools.combinations((3, 4, 8), 2):
        layer = nn.Linear(64, 8)
        round_weights(weights_of(layer), {"weight": bits}, {})
        before = layer.weight.detach().clone()
        round_weights(weights_of(layer), {"weight": asked}, {})
        assert torch.equal(layer.weight, before)


def test_the_bias_takes_up_the_mean_of_the_error() -> None:
    layer = nn.Linear(16, 8)
    x = torch.randn(400, 16) + 3
    expected = layer(x).detach()
    weights = weights_of(layer)
    round_weights(weights, dict.fromkeys(weights, 4), inputs_of(layer, weights, [(x,)]))
    assert float((layer(x).detach() - expected).mean(0).abs().max()) < 1e-5


def test_what_is_rounded_already_stays() -> None:
    network = nn.Sequential(nn.Linear(16, 32), nn.Conv1d(32, 8, 1), nn.Embedding(9, 16))
    for bits in (4, 8):
        weights = weights_of(network)
        round_weights(weights, dict.fromkeys(weights, bits), {})
        again = copy.deepcopy(network)
        round_weights(weights_of(again), dict.fromkeys(weights, bits), {})
        for mine, other in zip(network.parameters(), again.parameters(), strict=True):
            assert torch.equal(mine, other)


def test_weights_of_known_modules_are_rounded_once() -> None:
    network = nn.ModuleDict({
        "first": nn.Linear(16, 16), "norm": nn.LayerNorm(16), "conv": nn.Conv1d(8, 8, 3), "thin": nn.Linear(1, 64),
        "table": nn.Embedding(10, 16), "few": nn.Linear(8, 2), "tied": nn.Linear(16, 10),
    })  # fmt: skip
    network["tied"].weight = network["table"].weight
    assert list(weights_of(network)) == ["first.weight", "conv.weight", "table.weight"]
    assert list(small_weights_of(network)) == ["thin.weight", "few.weight"]


def test_pointwise_convolutions_and_products_see_the_same_inputs() -> None:
    linear, conv, x = nn.Linear(5, 20), nn.Conv1d(5, 20, 1), torch.randn(3, 5, 7)
    sums = []
    for layer, given_ in ((linear, x.mT), (conv, x)):
        (found,) = inputs_of(layer, weights_of(layer), [(given_,)]).values()
        sums.append(found)
    rows = x.mT.reshape(-1, 5).double()
    for found in sums:
        assert found.count == 21
        assert torch.allclose(found.covariance(centred=False), rows.mT @ rows / 21)
        assert torch.allclose(found.covariance(centred=True), torch.from_numpy(np.cov(rows.numpy().T, bias=True)))


def test_halves_are_within_float16_and_beyond_its_range_nothing_changes() -> None:
    values, far = torch.randn(100), torch.tensor([1e6, 1.0])
    kept, beyond = values.clone(), far.clone()
    halve([values, far])
    assert torch.equal(values, kept.half().float())
    assert torch.equal(far, beyond)


def test_the_numbers_that_tuning_starts_from_have_the_rounded_values() -> None:
    layer, x = nn.Linear(24, 8), torch.randn(200, 24)
    weights = weights_of(layer)
    (one,) = round_weights(weights, {"weight": 4}, inputs_of(layer, weights, [(x,)])).values()
    assert torch.equal(one.steps.nearest(one.exact).float(), layer.weight.detach())
    assert grid_of(layer.weight.detach().numpy(), 4) is not None


def test_bytes_before_rounding_are_those_after() -> None:
    network = nn.Sequential(nn.Linear(48, 20), nn.Conv1d(20, 8, 3), nn.Embedding(9, 16))
    expected = bytes_by_precision(weights_of(network))
    for precision, bits in (("int8", 8), ("int4", 4)):
        found = 0
        for weight in weights_of(network).values():
            grid = grid_of(steps_of(weight.matrix(), bits).nearest(weight.matrix()).float().numpy(), bits)
            assert grid is not None
            found += grid.integers.size * bits // 8 + 2 * grid.steps.size
        assert found == expected[precision]
    assert expected["float32"] == 4 * (48 * 20 + 20 * 8 * 3 + 9 * 16)
