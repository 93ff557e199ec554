"""Hold the output bound of a model against measured errors: random inputs, and inputs found by gradient ascent on the error.

    python scripts/check_bound.py --out models/digits/results/bound.json

For every order it prints the certified and the estimated bound, the largest measured error and how loose the bounds are: at the
output, at each layer's inputs, and of what each layer's own reduction adds.  The estimated bound is held against the calibration
samples that its constants come from, too.  Leaves with 1 if a certified bound was exceeded, or an estimated one on those samples.
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

from ssm2edge.bounds import Bound, NetworkGains, OutputBounds, output_bounds
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.feedthrough import in_form
from ssm2edge.stages.load import load
from ssm2edge.systems.system import System
from ssm2edge.traced import Network
from ssm2edge.traced.network import BANK, MIMO, filtered, operator

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


def random_inputs(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Sequences of many kinds and scales: uniform, binary, normal, random walks, sparse spikes, constants and tones.

    Parameters
    ----------
    count
        How many.
    like
        ``(samples, time, ...)``; where it holds whole numbers, so do the sequences, up to its largest.
    """
    length, shape = like.shape[1], (count, *like.shape[1:])
    if not like.is_floating_point():
        return torch.randint(0, int(like.max()) + 1, shape, generator=generator)
    uniform = torch.rand(shape, generator=generator)
    time_steps = (torch.arange(length) / length).reshape(length, *[1] * (like.ndim - 2))
    normal = torch.randn(shape, generator=generator)
    kinds = torch.stack(
        (
            uniform,
            (uniform > 0.8).float(),
            normal,
            normal.cumsum(1) / math.sqrt(length),
            torch.where(uniform > 0.98, 10 * normal, torch.zeros(())),
            normal[:, :1].expand(shape),
            torch.sin(2 * math.pi * (100 * uniform[:, :1] * time_steps + uniform[:, 1:2])),
        )
    )
    which = torch.randint(0, len(kinds), (count,), generator=generator)
    scale = 10 ** (2 * torch.rand(count, *[1] * (like.ndim - 1), generator=generator) - 1)
    return kinds[which, torch.arange(count)] * scale


def run_watched(network: Network, systems: Mapping[str, System], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs, and what enters each layer."""
    entering: dict[str, Tensor] = {}

    def watch(node: fx.Node, args: tuple[Any, ...], value: Any) -> Any:
        if operator(node) in (BANK, MIMO):
            entering[network.layers[node]] = args[0]
        return value

    with torch.no_grad():
        (output,) = network.run(systems, [x], watch)
    return output, entering


def level(value: Tensor, of_bank: bool) -> float:
    """Largest root mean square over time of the norm over channels, which stand before time in banks."""
    return float(value.double().square().sum(1 if of_bank else -1).mean(1).sqrt().max())


def sizes(error: Tensor) -> Tensor:
    """Norms of the samples' output errors, root mean square over time for outputs along time."""
    squares = error.double().square().sum(-1)
    return squares.flatten(1).mean(1).sqrt() if squares.ndim > 1 else squares.sqrt()


def measure(
    network: Network,
    original: Mapping[str, System],
    reduced: Mapping[int, Mapping[str, System]],
    x: Tensor,
    bounds: Mapping[int, OutputBounds],
    seen: Mapping[int, Measured],
) -> None:
    """Add the errors on these inputs."""
    expected, entering = run_watched(network, original, x)
    for order, systems in reduced.items():
        actual, arrived = run_watched(network, systems, x)
        errors = sizes(actual - expected)
        found, bound = seen[order], bounds[order]
        found.output = max(found.output, float(errors.max()))
        found.cases += len(errors)
        if isinstance(bound.certified, Bound):
            found.above_certified += int((errors > bound.certified.value).sum())
        found.above_estimated += int((errors > bound.estimated.value).sum())
        for name in systems:
            of_bank, u = bool(systems[name].batch_shape), entering[name].double()
            added = filtered(original[name], u) - filtered(systems[name], u)
            found.arriving[name] = max(found.arriving.get(name, 0.0), level(entering[name] - arrived[name], of_bank))
            found.injected[name] = max(found.injected.get(name, 0.0), level(added, of_bank))


def ascend(network: Network, original: Mapping[str, System], reduced: Mapping[str, System], x: Tensor, steps: int) -> Tensor:
    """Climb on the output error from ``x``, each sequence by steps relative to its own scale."""
    every = tuple(range(1, x.ndim))
    step = 0.1 * x.square().mean(every, keepdim=True).sqrt().clamp_min(0.1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        error = (network.run(reduced, [x])[0] - network.run(original, [x])[0]).flatten(1).norm(dim=1)
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
    task = load(open_source(model))
    (calibration, *_) = (task.samples.calibration or task.held_out).values()
    calibrating = torch.from_numpy(calibration[:OBSERVED])
    length = calibrating.shape[1]
    original = task.systems
    network = task.network
    gains = NetworkGains(original, length)
    reduced: dict[int, dict[str, System]] = {}
    bounds: dict[int, OutputBounds] = {}
    for order in map(int, orders.split(",")):
        wanted = uniform_orders(original, order)
        formed = in_form(task, Options(order=order).feedthrough, wanted).systems
        reductions = reduce_layers(formed, wanted, method, length)
        reduced[order] = {layer: reduction.system for layer, reduction in reductions.items()}
        bounds[order] = output_bounds(network, gains, original, reduced[order], [calibrating])
    samples, seen, climbed = ({order: Measured() for order in reduced} for _ in range(3))
    measure(network, original, reduced, calibrating, bounds, samples)
    generator = torch.Generator().manual_seed(0)
    for x in torch.split(random_inputs(count, calibrating, generator), AT_ONCE):
        measure(network, original, reduced, x, bounds, seen)
        click.echo(f"{seen[next(iter(seen))].cases} random inputs, {time.monotonic() - start:.0f} s", err=True)
    # There is nothing to climb on from one whole number to the next.
    for order, systems in reduced.items() if calibrating.is_floating_point() else ():
        for x in torch.split(random_inputs(ascent, calibrating, generator), AT_ONCE):
            top = ascend(network, original, systems, x, steps)
            measure(network, original, {order: systems}, top, bounds, climbed)
        click.echo(f"order {order}: ascent done, {time.monotonic() - start:.0f} s", err=True)
    report = []
    for order, bound in bounds.items():
        certified = bound.certified
        entry: dict[str, Any] = {
            "order": order,
            "outputs": bound.outputs,
            "certified": certified.to_json() if isinstance(certified, Bound) else str(certified),
            "estimated": bound.estimated.to_json(),
            "samples": samples[order].to_json(),
            "random": seen[order].to_json(),
            "ascent": climbed[order].to_json(),
        }
        report.append(entry)
        tell(order, bound, samples[order], seen[order], climbed[order])
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        figures = {"model": model, "method": method, "steps": steps, "seconds": time.monotonic() - start, "orders": report}
        out.write_text(json.dumps(figures, indent=2) + "\n")
    exceeded = [found.above_certified for group in (samples, seen, climbed) for found in group.values()]
    if any(exceeded) or any(found.above_estimated for found in samples.values()):
        raise SystemExit(1)


def tell(order: int, bound: OutputBounds, samples: Measured, random: Measured, ascent: Measured) -> None:
    """Print one order's figures."""
    share = bound.certified if isinstance(bound.certified, Bound) else bound.estimated
    # An estimated bound says nothing of inputs that are larger than the samples it was made on.
    worst = max(samples.output, random.output, ascent.output) if share is bound.certified else samples.output
    certified = f"certified {share.value:.4g}" if share is bound.certified else f"not certified ({bound.certified})"
    click.echo(
        f"order {order}: outputs {bound.outputs:.4g}; {certified}; estimated {bound.estimated.value:.4g}; measured "
        f"{samples.output:.4g} on the calibration samples, {random.output:.4g} on {random.cases} random inputs, "
        f"{ascent.output:.4g} on {ascent.cases} by ascent; the {share.kind} bound is {share.value / worst:.3g} times that; "
        f"above the certified one {random.above_certified + samples.above_certified} and {ascent.above_certified}, above the "
        f"estimated one {samples.above_estimated}, {random.above_estimated} and {ascent.above_estimated}"
    )
    for layer, part in share.layers.items():
        arriving = max(found.arriving.get(layer, 0.0) for found in (samples, random, ascent))
        injected = max(found.injected.get(layer, 0.0) for found in (samples, random, ascent))
        ratio = f"{part.arriving / arriving:.3g} times" if arriving > 0 else "equal to"
        click.echo(
            f"  {layer}: error at its inputs {part.arriving:.4g}, {ratio} the measured {arriving:.4g}; added by it "
            f"{part.injected:.4g}, {part.injected / injected:.3g} times the measured {injected:.4g}"
        )


if __name__ == "__main__":
    main()
