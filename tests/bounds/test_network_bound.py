"""No measured error exceeds a certified bound; an estimated one holds on the samples that it was estimated on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from models.activity.model import make as movements
from models.digits.model import S4D, make
from models.sysid.model import Block as QuadraticBlock
from models.sysid.model import make as predictor
from models.text.model import FFTConv
from models.text.model import make as texts
from ssm2edge.bounds import BoundError, NetworkGains, bound_record, network_bound, observe
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.response import simulate
from ssm2edge.systems.system import System, stack
from ssm2edge.traced import InputAxes, Network, trace
from ssm2edge.traced.network import filtered
from tests.package_models import S5Network
from tests.random_banks import random_bank
from tests.random_mimo import random_mimo
from tests.slow_cases import slow, slow_but
from tests.small_models import CHANNELS, tail, traced

LENGTH = 40
Systems = Mapping[str, System]


class Single(nn.Module):
    """Normalisation, one layer, a product of two values: nothing behind the layer cuts an error."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 4)
        self.norm = nn.LayerNorm(4)
        self.layer = S4D(4, 6)
        self.decoder = nn.Linear(4, 2)

    def forward(self, u: Tensor) -> Tensor:
        v = self.norm(self.encoder(u))
        y = self.layer(v.transpose(-1, -2))[0].transpose(-1, -2)
        answer: Tensor = self.decoder(torch.tanh(v * y) + 0.5 * y)
        return answer


class BothDirections(nn.Module):
    """Two bidirectional layers, one behind the other without a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 4)
        self.norm = nn.LayerNorm(4)
        self.layers = nn.Sequential(*(nn.Sequential(Filter(4, 6, 0.0), nn.Linear(4, 4)) for _ in range(2)))
        self.decoder = nn.Linear(4, 2)

    def forward(self, u: Tensor) -> Tensor:
        answer: Tensor = self.decoder(self.layers(self.norm(self.encoder(u))))
        return answer


class Squaring(nn.Module):
    """Layers with quadratic outputs on a residual path behind a normalisation, and none behind them."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 4)
        self.norm = nn.LayerNorm(4)
        self.layers = nn.Sequential(*(QuadraticBlock(4, 6, 2) for _ in range(layers)))
        self.decoder = nn.Linear(4, 2)

    def forward(self, u: Tensor) -> Tensor:
        answer: Tensor = self.decoder(self.layers(self.norm(self.encoder(u))))
        return answer


class Filter(FFTConv):
    """A bidirectional filter that returns its output alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the published layer returns a pair
        return super().forward(x)[0]


def opened(model: nn.Module) -> tuple[Network, dict[str, System]]:
    systems = {layer.name: layer.system for layer in find_layers(model)}
    program = trace(exportable(replace_layers(model, systems)), [InputAxes("u", 1, torch.zeros(1, 5, 1))]).program
    return Network(program), systems


def reduced_to(systems: Systems, order: int) -> dict[str, System]:
    reductions = reduce_layers(systems, dict.fromkeys(systems, order), "balanced", LENGTH)
    return {name: reduction.system for name, reduction in reductions.items()}


def shaken(systems: Systems, amount: float) -> dict[str, System]:
    """Systems whose outputs are a little larger."""
    return {name: system.with_output(system.C * (1 + amount), system.D) for name, system in systems.items()}


def inputs(count: int) -> Tensor:
    """Sequences of scales from a thousandth to a thousand."""
    generator = torch.Generator().manual_seed(3)
    scale = 10 ** (6 * torch.rand(count, 1, 1, generator=generator) - 3)
    return torch.randn(count, LENGTH, 1, generator=generator) * scale


def errors(network: Network, one: Systems, other: Systems, x: Tensor) -> Tensor:
    """Norms of the output errors, root mean square over time where there is time."""
    with torch.no_grad():
        difference = (network.run(one, [x])[0] - network.run(other, [x])[0]).double()
    if difference.ndim == 2:
        return difference.norm(dim=1)
    squares: Tensor = difference.square().sum(-1)
    return squares.mean(1).sqrt()


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "deep": lambda: make(channels=4, states=6, layers=3),
    "single": Single,
    "mimo": lambda: movements(sensors=1, width=4, states=6, layers=2),
    "mimo, full D": lambda: movements(sensors=1, width=4, states=6, layers=2),
    "both directions": BothDirections,
    "squares": lambda: Squaring(2),
    "one square": lambda: Squaring(1),
    "gated": S5Network,
    "gated, both directions": lambda: S5Network(True),
}


def ascended(network: Network, one: Systems, other: Systems, steps: int) -> Tensor:
    """Inputs climbed on the output error, each sequence by steps relative to its own scale."""
    x = inputs(20)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        error = (network.run(one, [x])[0] - network.run(other, [x])[0]).square().sum()
        (slope,) = torch.autograd.grad(error, x)
        x = x + 0.1 * slope.sign() * x.abs().mean((1, 2), keepdim=True)
    return x.detach()


@pytest.fixture(scope="module", params=slow_but(("single", "gated", "squares"), MODELS))
def subject(request: pytest.FixtureRequest) -> tuple[Network, dict[str, System]]:
    torch.manual_seed(0)
    network, systems = opened(MODELS[request.param]().eval())
    return network, {name: s.paper_form() if "full" in request.param else s for name, s in systems.items()}


def test_running_the_traced_network_is_running_the_model() -> None:
    torch.manual_seed(0)
    model = make(channels=4, states=6, layers=2).eval()
    network, systems = opened(model)
    x = inputs(4).clamp(-3, 3)
    with torch.no_grad():
        torch.testing.assert_close(network.run(systems, [x])[0], model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("order", "quadratic"), [(1, True), (6, False), (7, True)])
def test_convolution_of_one_system_is_its_recurrence(order: int, quadratic: bool) -> None:
    generator = torch.Generator().manual_seed(order)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A, M = normal(order, order), normal(3, order, order)
    A = A * 0.9 / torch.linalg.eigvals(A).abs().max()
    dense = DenseSystem(A, normal(order, 2), normal(3, order), normal(3, 2), M + M.mT if quadratic else None)
    system = to_modal(dense)
    assert order == 1 or system.poles.imag.any()
    u = normal(2, 30, 2)
    expected = torch.stack([simulate(system, x.mT)[0].mT for x in u])
    torch.testing.assert_close(filtered(system, u), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("order", [1, slow(2), slow(3), 4])
@pytest.mark.parametrize("norm", ["hinf", slow("h2")])
def test_measured_errors_stay_below_the_certified_bound(
    subject: tuple[Network, dict[str, System]], order: int, norm: str
) -> None:
    network, systems = subject
    reduced = reduced_to(systems, order)
    assert norm in ("hinf", "h2")
    bound = network_bound(network, NetworkGains(systems, LENGTH), reduced, norm="hinf" if norm == "hinf" else "h2")
    assert bound.kind == "certified"
    assert all(constant.kind == "proven" for constant in bound.constants)
    worst = float(errors(network, systems, reduced, inputs(300)).max())
    assert 0 < worst <= bound.value


def test_inputs_found_by_ascent_stay_below_the_certified_bound(subject: tuple[Network, dict[str, System]]) -> None:
    network, systems = subject
    reduced = reduced_to(systems, 2)
    bound = network_bound(network, NetworkGains(systems, LENGTH), reduced).value
    start = float(errors(network, systems, reduced, inputs(20)).max())
    found = float(errors(network, systems, reduced, ascended(network, systems, reduced, 30)).max())
    assert start < found <= bound


def test_bound_of_a_single_layer_with_squares_is_near_the_error_found_by_ascent() -> None:
    torch.manual_seed(0)
    network, systems = opened(Squaring(1).eval())
    reduced = reduced_to(systems, 2)
    found = float(errors(network, systems, reduced, ascended(network, systems, reduced, 40)).max())
    assert found <= network_bound(network, NetworkGains(systems, LENGTH), reduced).value <= 20 * found


def test_small_errors_are_bounded_in_proportion_and_without_a_cut(subject: tuple[Network, dict[str, System]]) -> None:
    network, systems = subject
    gains = NetworkGains(systems, LENGTH)
    amounts = (1e-11, 2e-11)
    small, double = (network_bound(network, gains, shaken(systems, amount)) for amount in amounts)
    assert small.cut == double.cut == ()
    assert double.value == pytest.approx(2 * small.value, rel=1e-2)
    assert small.value == pytest.approx(sum(share.contribution for share in small.layers.values()))


def test_estimated_bound_holds_on_the_samples_it_was_estimated_on_and_is_sharper(
    subject: tuple[Network, dict[str, System]],
) -> None:
    network, systems = subject
    gains, x = NetworkGains(systems, LENGTH), inputs(100).clamp(-2, 2)
    shaken_systems = shaken(systems, 1e-4)
    observed = observe(network, [systems, shaken_systems], [[x]])
    estimated = network_bound(network, gains, shaken_systems, observed)
    certified = network_bound(network, gains, shaken_systems)
    worst = float(errors(network, systems, shaken_systems, x).max())
    assert estimated.kind == "estimated"
    assert worst <= estimated.value <= certified.value * (1 + 1e-9)
    assert any(constant.kind == "estimated" for constant in estimated.constants)


def test_shallow_layers_weigh_more() -> None:
    torch.manual_seed(0)
    network, systems = opened(make(channels=4, states=6, layers=3).eval())
    shares = network_bound(network, NetworkGains(systems, LENGTH), shaken(systems, 1e-3)).layers
    weights = [shares[f"layers.{i}"].weight for i in range(3)]
    assert weights == sorted(weights, reverse=True)


def test_h2_form_is_not_sharper() -> None:
    torch.manual_seed(0)
    network, systems = opened(Single().eval())
    gains, reduced = NetworkGains(systems, LENGTH), reduced_to(systems, 2)
    assert network_bound(network, gains, reduced).value <= 1.03 * network_bound(network, gains, reduced, norm="h2").value


def test_bound_as_plain_values_tells_every_constant() -> None:
    torch.manual_seed(0)
    network, systems = opened(Single().eval())
    bound = network_bound(network, NetworkGains(systems, None), reduced_to(systems, 2))
    plain = bound.to_json()
    assert (plain["horizon"], plain["kind"], plain["norm"]) == ("inf", "certified", "hinf")
    assert len(plain["constants"]) == len(bound.constants) > 5
    assert set(plain["layers"]) == {"layer"}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda m, y: y.softmax(1), "softmax"),
        (lambda m, y: m.wide(y), "one tap"),
        (lambda m, y: y.mean(1), "batch or channels"),
        (lambda m, y: y.flip(1), "flip"),
        (lambda m, y: y.max(2)[0], r"max\.dim"),
    ],
)
def test_networks_without_a_rule_are_refused_by_name(function: object, reason: str) -> None:
    model = tail(lambda m, y: m.linear(y.transpose(1, 2)))
    model.function = lambda m, y: function(m, y)  # type: ignore[operator]  # a test's lambda
    systems = {"layer": random_bank(CHANNELS, 6, seed=0)}

    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.norm = model, nn.LayerNorm(CHANNELS)

        def forward(self, u: Tensor) -> Tensor:
            answer: Tensor = self.model(self.norm(u.transpose(1, 2)).transpose(1, 2))
            return answer

    network = Network(traced(Before()).program)
    gains = NetworkGains({f"model.{name}": system for name, system in systems.items()}, LENGTH)
    with pytest.raises(BoundError, match=reason):
        network_bound(network, gains, {"model.layer": systems["layer"]})


def test_texts_in_both_directions_have_a_bound_that_holds() -> None:
    torch.manual_seed(0)
    model = texts(channels=4, states=6, layers=2).eval()
    systems = {layer.name: layer.system for layer in find_layers(model)}
    example = torch.zeros(1, 5, dtype=torch.int64)
    network = Network(trace(exportable(replace_layers(model, systems)), [InputAxes("text", 1, example)]).program)
    assert len(systems) == 4
    reduced = reduced_to(systems, 2)
    x = torch.randint(0, 256, (200, LENGTH), generator=torch.Generator().manual_seed(0))
    observed = observe(network, [systems, reduced], [[x]])
    certified, estimated = (network_bound(network, NetworkGains(systems, LENGTH), reduced, seen) for seen in (None, observed))
    worst = float(errors(network, systems, reduced, x).max())
    assert 0 < worst <= estimated.value <= certified.value * (1 + 1e-9)
    assert (certified.kind, set(certified.layers)) == ("certified", set(systems))


def test_squares_of_unbounded_inputs_have_an_estimated_bound_alone() -> None:
    torch.manual_seed(0)
    network, systems = opened(predictor(width=4, states=6, rank=2, layers=2).eval())
    reduced = reduced_to(systems, 2)
    gains, x = NetworkGains(systems, LENGTH), inputs(100).clamp(-2, 2)
    with pytest.raises(BoundError, match=r"Nothing bounds the inputs of layer layers\.0\.lru"):
        network_bound(network, gains, reduced)
    for norm in ("hinf", "h2"):
        bound = network_bound(network, gains, reduced, observe(network, [systems, reduced], [[x]]), norm=norm)
        assert bound.kind == "estimated"
        assert {c.kind for c in bound.constants if c.what == "largest squared signal"} == {"estimated"}
        assert 0 < float(errors(network, systems, reduced, x).max()) <= bound.value
    record = bound_record(network, systems, reduced, [x], LENGTH)
    assert "Nothing bounds" in record["certified"]["reason"]
    assert record["estimated"]["value"] > 0


def test_layers_that_no_bound_holds_for_are_named() -> None:
    unstable = random_mimo(3, 2, 2, radius=1.01)
    several = stack([random_mimo(3, 2, 2), random_mimo(3, 2, 2)])
    for system, reason in ((unstable, "a pole of blocks.1.s5"), (several, "those of blocks.1.s5")):
        with pytest.raises(BoundError, match=re.escape(reason)):
            NetworkGains({"blocks.1.s5": system}, LENGTH)


def test_a_gate_that_nothing_bounds_has_an_estimated_bound_alone() -> None:
    class Gated(Single):
        def forward(self, u: Tensor) -> Tensor:
            z = self.encoder(u)
            y = self.layer(self.norm(z).transpose(-1, -2))[0].transpose(-1, -2)
            answer: Tensor = self.decoder(y * z)
            return answer

    torch.manual_seed(0)
    network, systems = opened(Gated().eval())
    reduced, gains, x = reduced_to(systems, 2), NetworkGains(systems, LENGTH), inputs(100).clamp(-2, 2)
    with pytest.raises(BoundError, match="Nothing bounds the factors of mul"):
        network_bound(network, gains, reduced)
    bound = network_bound(network, gains, reduced, observe(network, [systems, reduced], [[x]]))
    assert 0 < float(errors(network, systems, reduced, x).max()) <= bound.value
    assert {c.kind for c in bound.constants if c.what == "largest factor"} == {"estimated"}


def test_layers_with_unbounded_inputs_have_no_bound_for_all_inputs() -> None:
    network = Network(traced(tail(lambda m, y: y)).program)
    system = random_bank(CHANNELS, 6, seed=0)
    with pytest.raises(BoundError, match="Nothing bounds the inputs of layer layer"):
        network_bound(network, NetworkGains({"layer": system}, LENGTH), {"layer": system})
