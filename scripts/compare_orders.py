"""Rules for the distribution of states over layers, side by side, at the same total number of states.

    python scripts/compare_orders.py --out models/digits/results/orders.json

Three models: models/digits, models/sysid, and a small S4D trained here in about a minute to tell synthetic signals apart.  For
every rule it prints the orders, the relative error of the outputs on samples that the rule has not seen, and how many predictions
stay the original's.  The rule of the output bound is left out where the network has no bound.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from ssm2edge.bounds import BoundError
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.loading import Signature, load_arrays, load_model, open_source, samples_of
from ssm2edge.orders import RULES, Choice, Study, study
from ssm2edge.orders.distribution import CostCurve, distribute, uniform_orders
from ssm2edge.orders.search import PROPOSALS
from ssm2edge.reduction import reduce_system
from ssm2edge.traced import InputAxes, Network, trace

CLASSES = 6


def signals(count: int, seed: int, length: int = 256) -> tuple[Tensor, Tensor]:
    """Synthetic signals of six kinds in noise: tone, rising and falling chirp, amplitude and frequency modulation, pulses."""
    generator = np.random.default_rng(seed)
    t = np.arange(length) / length
    f, depth, phase = (
        generator.uniform(8, 40, (count, 1)),
        generator.uniform(2, 5, (count, 1)),
        generator.uniform(0, 7, (count, 1)),
    )
    slow = np.sin(2 * np.pi * depth * t + phase)
    kinds = np.stack(
        (
            np.sin(2 * np.pi * f * t + phase),
            np.sin(2 * np.pi * f * (0.5 * t + 0.5 * t**2) + phase),
            np.sin(2 * np.pi * f * (1.5 * t - 0.5 * t**2) + phase),
            (1 + 0.9 * slow) / 1.9 * np.sin(2 * np.pi * f * t),
            np.sin(2 * np.pi * f * t + 4 * slow),
            (np.sin(2 * np.pi * f * t + phase) > 0.9) * 1.5,
        )
    )
    labels = generator.integers(0, CLASSES, count)
    chosen = kinds[labels, np.arange(count)] + 0.3 * generator.standard_normal((count, length))
    return torch.from_numpy(chosen[..., None].astype(np.float32)), torch.from_numpy(labels)


def trained(steps: int) -> tuple[nn.Module, float]:
    """A four-layer S4D on the signals, and its accuracy on others."""
    torch.manual_seed(0)
    arguments = {"channels": 24, "states": 32, "layers": 4}
    model = load_model(replace(open_source("models/digits"), arguments=arguments, weights=None)).train()
    dynamics = [p for name, p in model.named_parameters() if "kernel" in name]
    others = [p for name, p in model.named_parameters() if "kernel" not in name]
    optimiser = torch.optim.AdamW([{"params": dynamics, "lr": 2e-3, "weight_decay": 0.0}, {"params": others, "lr": 6e-3}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [2e-3, 6e-3], total_steps=steps)
    for step in range(steps):
        x, labels = signals(48, 1000 + step)
        loss = nn.functional.cross_entropy(model(x), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    x, labels = signals(500, 1)
    model.eval()
    with torch.no_grad():
        return model, float((model(x).argmax(1) == labels).float().mean())


def judge(
    seen: Study, orders: Mapping[str, int], method: str, x: Tensor, expected: Tensor, made: dict[tuple[str, int, str], Any]
) -> dict[str, float | None]:
    """Relative output error and agreement of predictions on ``x``."""
    for name, order in orders.items():
        if (name, order, method) not in made:
            made[name, order, method] = reduce_system(seen.systems[name], order, method, seen.horizon).system
    with torch.no_grad():
        (actual,) = seen.network.run({name: made[name, order, method] for name, order in orders.items()}, [x])
    classes = actual.ndim == 2
    return {
        "error": float((actual - expected).norm() / expected.norm()),
        "agreement": float((actual.argmax(1) == expected.argmax(1)).float().mean()) if classes else None,
    }


def compare(
    title: str, model: nn.Module, studied: Tensor, x: Tensor, averages: list[int], methods: list[str]
) -> list[dict[str, Any]]:
    """Compare all rules on one model.

    The rule ``choice`` is what builds do: of the best proposals by the direct method, reduced by the method asked for, the one
    that errs least on the studied samples.
    """
    systems = {layer.name: layer.system.paper_form() for layer in find_layers(model)}
    network = Network(trace(exportable(replace_layers(model, systems)), [InputAxes("samples", 1, studied[:1])]).program)
    seen = study(network, systems, [studied], studied.shape[1])
    with torch.no_grad():
        (expected,), (expected_studied,) = network.run(systems, [x]), network.run(systems, [studied])
    curves: dict[str, Mapping[str, CostCurve]] = {}
    seconds: dict[str, float] = {}
    for rule, cost in RULES.items():
        start = time.monotonic()
        try:
            curves[rule] = cost(seen, lambda share: None)
        except BoundError as reason:
            click.echo(f"{title}, {rule}: {reason}")
        seconds[rule] = time.monotonic() - start
    start = time.monotonic()
    choice = Choice(seen)
    seconds["choice"] = time.monotonic() - start
    made: dict[tuple[str, int, str], Any] = {}
    rows = []
    for average in averages:
        budget = average * sum(seen.widths.values())
        proposed = {rule: distribute(curves[rule], seen.widths, budget) for rule in curves}
        proposed |= {"uniform": uniform_orders(systems, average)}
        proposals = list(choice.proposals(budget).values())[:PROPOSALS]
        for method in methods:
            errors = [judge(seen, orders, method, studied, expected_studied, made)["error"] or 0.0 for orders in proposals]
            proposed["choice"] = proposals[int(np.argmin(errors))]
            for rule, orders in proposed.items():
                found = judge(seen, orders, method, x, expected, made)
                rows.append(
                    {"model": title, "average": average, "rule": rule, "method": method, "orders": orders, **found}
                    | {"seconds": seconds.get(rule, 0.0)}
                )
                agreement = found["agreement"]
                click.echo(
                    f"{title}, {average} states on average, {method}, {rule}: orders {', '.join(map(str, orders.values()))}; "
                    f"relative output error {found['error']:.4f}"
                    + ("" if agreement is None else f", {agreement:.1%} of predictions the original's")
                )
    return rows


@click.command(help=__doc__)
@click.option("--methods", default="balanced,gradient", show_default=True)
@click.option("--steps", default=250, show_default=True, help="Training steps of the small model.")
@click.option("--threads", default=2, show_default=True)
@click.option("--models", default="signals,digits,sysid", show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(methods: str, steps: int, threads: int, models: str, out: Path | None) -> None:
    torch.set_num_threads(threads)
    chosen, rows, accuracy = methods.split(","), [], None
    if "signals" in models.split(","):
        small, accuracy = trained(steps)
        click.echo(f"signals: accuracy {accuracy:.3f} on 500 signals")
        rows += compare("signals", small, signals(96, 2)[0], signals(500, 1)[0], [4, 8], chosen)
    for name, averages in (("digits", [8, 16]), ("sysid", [4, 8, 16])):
        if name in models.split(","):
            source = open_source(f"models/{name}")
            model = load_model(source)
            assert source.samples is not None
            given = samples_of(load_arrays(source.samples), source.samples, Signature.of(model), source.time_axis, source.metrics)
            (samples,) = (torch.from_numpy(value) for value in given.calibration.values())
            rows += compare(name, model, samples[:40], samples[40:240], averages, chosen)
    best = {(r["model"], r["average"], r["method"]): min((o["error"], o["rule"]) for o in rows if _like(o, r)) for r in rows}
    for (model, average, method), (error, rule) in best.items():
        click.echo(f"{model}, {average} states on average, {method}: {rule} errs least, {error:.4f}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"signals_accuracy": accuracy, "rows": rows}, indent=2) + "\n")
    if not all(math.isfinite(row["error"]) for row in rows):
        raise SystemExit(1)


def _like(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("model", "average", "method"))


if __name__ == "__main__":
    main()
