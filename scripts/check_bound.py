"""Hold the output bound of a model against measured errors: random inputs, and inputs found by gradient ascent on the error.

    python scripts/check_bound.py --out models/digits/results/bound.json

For every order it prints the certified and the estimated bound, the largest measured error and how loose the bounds are: at the
output, at each layer's inputs, and of what each layer's own reduction adds.  Leaves with 1 if a certified bound was exceeded.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, fx

from ssm2edge.bounds import Bound, Network, NetworkGains, network_bound, observe
from ssm2edge.bounds.program import BANK, filtered, operator
from ssm2edge.export import InputAxes, trace
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.loading import input_names, load_model, load_samples, open_source
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.orders import uniform_orders
from ssm2edge.systems.norms import difference
from ssm2edge.systems.system import System

AT_ONCE = 50
OBSERVED = 64


@dataclass(eq=False)
class Measured:
    """Largest errors seen, root mean square over time: of the outputs, before each layer, and added by each layer."""

    output: float = 0.0
    arriving: dict[str, float] = field(default_factory=dict)
    injected: dict[str, float] = field(default_factory=dict)
    cases: int = 0
    above_certified: int = 0
    above_estimated: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self)


def random_inputs(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Sequences of many kinds and scales: uniform, binary, normal, random walks, sparse spikes, constants and tones."""
    uniform = torch.rand(count, length, generator=generator)
    normal = torch.randn(count, length, generator=generator)
    time_steps = torch.arange(length) / length
    kinds = torch.stack(
        (
            uniform,
            (uniform > 0.8).float(),
            normal,
            normal.cumsum(1) / math.sqrt(length),
            torch.where(uniform > 0.98, 10 * normal, torch.zeros(())),
            normal[:, :1].expand(-1, length),
            torch.sin(2 * math.pi * (100 * uniform[:, :1] * time_steps + uniform[:, 1:2])),
        )
    )
    which = torch.randint(0, len(kinds), (count,), generator=generator)
    scale = 10 ** (2 * torch.rand(count, 1, generator=generator) - 1)
    return (kinds[which, torch.arange(count)] * scale).unsqueeze(-1)


def run_watched(network: Network, systems: Mapping[str, System], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs, and what enters each layer."""
    entering: dict[str, Tensor] = {}

    def watch(node: fx.Node, args: tuple[Any, ...], value: Any) -> Any:
        if operator(node) == BANK:
            entering[network.layers[node]] = args[0]
        return value

    with torch.no_grad():
        (output,) = network.run(systems, [x], watch)
    return output, entering


def level(value: Tensor) -> float:
    """Largest root mean square over time of the norm over channels, of ``(batch, channels, time)``."""
    return float(value.double().square().sum(1).mean(-1).sqrt().max())


def measure(
    network: Network,
    original: Mapping[str, System],
    reduced: Mapping[int, Mapping[str, System]],
    x: Tensor,
    bounds: Mapping[int, tuple[Bound, Bound]],
    seen: Mapping[int, Measured],
) -> None:
    """Add the errors on these inputs."""
    expected, entering = run_watched(network, original, x)
    for order, systems in reduced.items():
        actual, arrived = run_watched(network, systems, x)
        errors = (actual - expected).double().norm(dim=1)
        found = seen[order]
        found.output = max(found.output, float(errors.max()))
        found.cases += len(errors)
        found.above_certified += int((errors > bounds[order][0].value).sum())
        found.above_estimated += int((errors > bounds[order][1].value).sum())
        for name in systems:
            added = filtered(difference(original[name], systems[name]), entering[name].double())
            found.arriving[name] = max(found.arriving.get(name, 0.0), level(entering[name] - arrived[name]))
            found.injected[name] = max(found.injected.get(name, 0.0), level(added))


def ascend(network: Network, original: Mapping[str, System], reduced: Mapping[str, System], x: Tensor, steps: int) -> Tensor:
    """Climb on the output error from ``x``, each sequence by steps relative to its own scale."""
    step = 0.1 * x.square().mean((1, 2), keepdim=True).sqrt().clamp_min(0.1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        error = (network.run(reduced, [x])[0] - network.run(original, [x])[0]).norm(dim=1)
        (slope,) = torch.autograd.grad(error.sum(), x)
        x = x + step * slope.sign()
    return x.detach()


@click.command(help=__doc__)
@click.option("--model", default="models/digits", show_default=True)
@click.option("--orders", default="4,8,16,32", show_default=True)
@click.option("--method", default="gradient", show_default=True)
@click.option("--random", "count", default=1000, show_default=True)
@click.option("--ascent", default=100, show_default=True, help="Inputs found by gradient ascent, for each order.")
@click.option("--steps", default=8, show_default=True, help="Steps of the ascent.")
@click.option("--threads", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(model: str, orders: str, method: str, count: int, ascent: int, steps: int, threads: int, out: Path | None) -> None:
    torch.set_num_threads(threads)
    start = time.monotonic()
    source = open_source(model)
    original_model = load_model(source)
    samples = load_samples(source.samples, input_names(original_model), source.time_axis, source.metric)
    (name, calibration), *_ = (samples.calibration or samples.held_out).items()
    calibrating = torch.from_numpy(calibration[:OBSERVED])
    length = calibrating.shape[1]
    original = {layer.name: layer.system for layer in find_layers(original_model)}
    axes = [InputAxes(name, source.time_axis, calibrating[:1])]
    network = Network(trace(exportable(replace_layers(original_model, original)), axes).program)
    gains = NetworkGains(original, length)
    reduced, bounds, seen = {}, {}, {}
    for order in map(int, orders.split(",")):
        reductions = reduce_layers(original, uniform_orders(original, order), method, length)
        reduced[order] = {layer: reduction.system for layer, reduction in reductions.items()}
        observed = observe(network, [original, reduced[order]], [[calibrating]])
        bounds[order] = (
            network_bound(network, gains, reduced[order]),
            network_bound(network, gains, reduced[order], observed),
        )
        seen[order] = Measured()
    generator = torch.Generator().manual_seed(0)
    for x in torch.split(random_inputs(count, length, generator), AT_ONCE):
        measure(network, original, reduced, x, bounds, seen)
        click.echo(f"{seen[next(iter(seen))].cases} random inputs, {time.monotonic() - start:.0f} s", err=True)
    climbed = {order: Measured() for order in reduced}
    for order, systems in reduced.items():
        for x in torch.split(random_inputs(ascent, length, generator), AT_ONCE):
            top = ascend(network, original, systems, x, steps)
            measure(network, original, {order: systems}, top, bounds, climbed)
        click.echo(f"order {order}: ascent done, {time.monotonic() - start:.0f} s", err=True)
    report = []
    for order, (certified, estimated) in bounds.items():
        entry: dict[str, Any] = {
            "order": order,
            "certified": certified.to_json(),
            "estimated": estimated.to_json(),
            "random": seen[order].to_json(),
            "ascent": climbed[order].to_json(),
        }
        report.append(entry)
        worst = max(seen[order].output, climbed[order].output)
        click.echo(
            f"order {order}: {certified.kind} {certified.value:.4g}, {estimated.kind} {estimated.value:.4g}, measured "
            f"{seen[order].output:.4g} on {count} random inputs, {climbed[order].output:.4g} on {ascent} by ascent; the "
            f"certified bound is {certified.value / worst:.3g} times the largest; above it {seen[order].above_certified} and "
            f"{climbed[order].above_certified}, above the estimated one {seen[order].above_estimated} and "
            f"{climbed[order].above_estimated}"
        )
        for layer, share in certified.layers.items():
            arriving = max(seen[order].arriving[layer], climbed[order].arriving[layer])
            injected = max(seen[order].injected[layer], climbed[order].injected[layer])
            ratio = f"{share.arriving / arriving:.3g} times" if arriving > 0 else "equal to"
            click.echo(
                f"  {layer}: error at its inputs {share.arriving:.4g}, {ratio} the measured {arriving:.4g}; added by it "
                f"{share.injected:.4g}, {share.injected / injected:.3g} times the measured {injected:.4g}"
            )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        figures = {"model": model, "method": method, "steps": steps, "seconds": time.monotonic() - start, "orders": report}
        out.write_text(json.dumps(figures, indent=2) + "\n")
    if any(found.above_certified for found in (*seen.values(), *climbed.values())):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
