"""Every reduction method on random S4D-Lin channels and on the channels of a trained model, side by side.

    python scripts/compare_reductions.py --model models/digits --out models/digits/results/reductions.json
    python scripts/compare_reductions.py --channels 500 --out models/digits/results/reductions-random.json

For each order it prints the median relative h2 error of each method, on how many channels gradient's error exceeds the
smallest of the others', how often it lies within 1 % of the best of some random restarts, and on how many channels the
TLH2 iteration, left to itself, is unstable after its last step.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import click
import torch
from torch import Tensor

from ssm2edge.layers import find_layers
from ssm2edge.loading import load_model, open_source
from ssm2edge.reduction import METHODS, Reduction, reduce_system
from ssm2edge.reduction.aire import aire_scores
from ssm2edge.reduction.balanced import balanced_truncation
from ssm2edge.reduction.modal import keep_modes
from ssm2edge.reduction.newton import channels_of, minimise
from ssm2edge.reduction.projection import refit_channels
from ssm2edge.reduction.sections import sections_of, slowest_decay
from ssm2edge.reduction.tlh2 import STEPS, fixed_point_step
from ssm2edge.systems.dense import with_real_coefficients
from ssm2edge.systems.discretisation import zero_order_hold
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System, concatenate, from_conjugate_half, reading_after, siso_bank

RESULTS = Path(__file__).resolve().parent.parent / "models" / "digits" / "results"
RECORDED = {"192 of digits": "reductions.json", "500 random": "reductions-random.json"}
TOLD = ("aire", "balanced", "tlh2", "gradient")
"""Methods in the table."""


def random_channels(count: int, states: int, seed: int) -> System:
    """Untrained S4D-Lin: dt log-uniform in [1e-3, 1e-1], poles -1/2 + i pi n, random complex C, zero-order hold."""
    generator = torch.Generator().manual_seed(seed)
    log_dt = torch.rand(count, generator=generator, dtype=torch.float64) * math.log(100) + math.log(1e-3)
    imaginary = math.pi * torch.arange(states // 2, dtype=torch.float64)
    continuous = torch.complex(torch.full_like(imaginary, -0.5), imaginary).expand(count, -1)
    C = torch.randn(count, states // 2, dtype=torch.complex128, generator=generator)
    D = torch.randn(count, generator=generator, dtype=torch.float64)
    poles, gains = zero_order_hold(continuous, torch.exp(log_dt)[:, None])
    return reading_after(from_conjugate_half(poles, gains[..., None], C[:, None, :], D[:, None, None]))


def trained_channels(model: str) -> System:
    """The channels of all banks of a model directory."""
    return concatenate([layer.system for layer in find_layers(load_model(open_source(model)))])


def summed_error(system: System, reduced: System, horizon: int | None) -> Tensor:
    """Return the h2 error summed over impulse responses, which no rounding of Gramians touches; by those on no horizon."""
    if horizon is None:
        return h2_error(system, reduced)
    gap = impulse_response(system, horizon + 1) - impulse_response(reduced, horizon + 1)
    return gap.square().sum((-3, -2, -1)).sqrt()


def rounding(system: System, refined: Reduction) -> float:
    """Return the largest difference between reported and summed errors, relative to the norms."""
    difference = (refined.error - summed_error(system, refined.system, refined.horizon)).abs()
    return float((difference / h2_norm(system, refined.horizon)).max())


def unrepaired_tlh2(system: System, order: int, horizon: int | None) -> Tensor:
    """Return the largest pole modulus after the TLH2 iteration from balanced truncation, nothing being repaired, ``(channels,)``.

    A channel whose iteration breaks down has infinity.
    """
    current = balanced_truncation(system, order, horizon).system
    radius = current.poles.abs().amax(-1)
    active = torch.arange(len(radius))
    nothing = torch.zeros_like(radius)
    for _ in range(STEPS):
        poles, B = fixed_point_step(system[active], current, horizon)
        finite = torch.isfinite(poles).all(-1)
        radius[active] = torch.where(finite, poles.abs().amax(-1), torch.inf)
        active = active[finite]
        current = siso_bank(poles[finite], B[finite][..., 0], nothing[active])
    return radius


def best_of_restarts(system: System, order: int, horizon: int | None, restarts: int, seed: int) -> Tensor:
    """Return each channel's smallest error over refinements of random picks of its modes, every other one weighted by energy."""
    generator = torch.Generator().manual_seed(seed)
    channels, slowest = channels_of(system, horizon), slowest_decay(system.poles, horizon)
    best = torch.full(system.batch_shape, torch.inf, dtype=torch.float64)
    for k in range(restarts):
        scores = torch.rand(system.poles.shape, generator=generator, dtype=torch.float64)
        scores = scores[:, torch.arange(system.order) // 2 * 2]
        if k % 2:
            scores = scores * aire_scores(system)
        start = sections_of(keep_modes(system, scores, order)[0].poles, slowest)
        end = minimise(channels, start)
        best = torch.minimum(best, summed_error(system, refit_channels(system, end.sections.poles(), horizon), horizon))
    return best


def table() -> str:
    """The table of docs/method.md, from the recorded figures."""
    lines = [
        f"| channels | states | {' | '.join(f'`{method}`' for method in TOLD)} | as good as the best of 20 restarts | better "
        "| `tlh2` unstable by itself |",
        "|---|---|" + "---|" * len(TOLD) + "---|---|---|",
    ]
    for title, name in RECORDED.items():
        for row in sorted(json.loads((RESULTS / name).read_text(encoding="utf-8"))["rows"], key=lambda row: row["order"]):
            errors = (f"{row['median_relative_error'][method]:.3f}" for method in TOLD)
            shares = (row[key] for key in ("within_1_percent_of_best_restart", "more_than_1_percent_better_than_best_restart"))
            unstable = row["tlh2_unstable_by_itself"] / row["channels"]
            figures = [*errors, *(f"{100 * share:.0f} %" for share in (*shares, unstable))]
            lines.append(f"| {title} | {row['order']} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--channels", default=500, show_default=True)
@click.option("--states", default=64, show_default=True)
@click.option("--model", help="A trained model of banks instead, such as models/digits.")
@click.option("--orders", default="2,4,8,16,32", show_default=True)
@click.option("--horizon", default=784, show_default=True, help="Taps; 0 for the infinite horizon.")
@click.option("--restarts", default=20, show_default=True)
@click.option("--restart-seed", default=2026, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=None)
def main(
    channels: int,
    states: int,
    model: str | None,
    orders: str,
    horizon: int,
    restarts: int,
    restart_seed: int,
    threads: int,
    out: Path | None,
) -> None:
    torch.set_num_threads(threads)
    taps = horizon or None
    system = trained_channels(model) if model else random_channels(channels, states, 0)
    system = with_real_coefficients(system)
    rows = []
    for order in (int(text) for text in orders.split(",")):
        results, seconds = {}, {}
        for method in METHODS:
            start = time.perf_counter()
            results[method] = reduce_system(system, order, method, taps)
            seconds[method] = time.perf_counter() - start
        refined = results["gradient"]
        others = torch.stack([r.error for name, r in results.items() if name != "gradient"]).amin(0)
        row: dict[str, object] = {
            "order": order,
            "channels": len(refined.error),
            "horizon": taps,
            "median_relative_error": {name: float(r.relative_error.median()) for name, r in results.items()},
            "outcomes": {name: r.outcome_counts for name, r in results.items()},
            "seconds": seconds,
            "gradient_above_best_other": int((refined.error > others).sum()),
            "tlh2_unstable_by_itself": int((unrepaired_tlh2(system, order, taps) >= 1).sum()),
            "largest_spectral_radius": max(float(r.spectral_radius.max()) for r in results.values()),
        }
        row["largest_rounding_of_relative_errors"] = rounding(system, refined)
        if restarts:
            start = time.perf_counter()
            best = best_of_restarts(system, order, taps, restarts, restart_seed)
            row["restarts"] = restarts
            row["restart_seed"] = restart_seed
            row["restart_seconds"] = time.perf_counter() - start
            error = summed_error(system, refined.system, taps)
            row["within_1_percent_of_best_restart"] = float((error <= 1.01 * best).double().mean())
            row["more_than_1_percent_better_than_best_restart"] = float((error < 0.99 * best).double().mean())
        rows.append(row)
        click.echo(json.dumps(row, indent=1))
        if out is not None:
            # After each order: a run that is cut short keeps what it has.
            out.write_text(json.dumps({"model": model, "states": system.order, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
