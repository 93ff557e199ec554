"""Poles in 16 bits a number: which coordinates hold, measured on the layers of the shipped models, reduced but not tuned.

    python scripts/pole_bits.py [MODEL ...]

For each model and each way to store a pair's two numbers: the largest and the median change of a layer's response on the model's
horizon, relative, in hundredths.  Many inputs and outputs have few poles; banks have most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

from ssm2edge.loading.source import open_source
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.norms import h2_error, h2_norm

MODELS = Path(__file__).resolve().parent.parent / "models"
SHIPPED = ("digits", "fashion", "activity", "keywords", "sysid")
STEPS = 1 << 15


def half(x: Tensor) -> Tensor:
    return x.half().double()


def even(x: Tensor, most: float) -> Tensor:
    return (x * (STEPS / most)).round() / STEPS * most


def squared(x: Tensor) -> Tensor:
    return even(x.sqrt(), 1.0) ** 2


def cartesian(poles: Tensor) -> Tensor:
    return torch.complex(half(poles.real), half(poles.imag))


def from_one(poles: Tensor) -> Tensor:
    return torch.complex(1 - half(1 - poles.real), half(poles.imag))


def log_decay(poles: Tensor) -> Tensor:
    return torch.polar(torch.exp(-torch.exp(half(torch.log(-poles.abs().log())))), half(poles.angle()))


def log_decay_even(poles: Tensor) -> Tensor:
    return torch.polar(torch.exp(-torch.exp(even(torch.log(-poles.abs().log()), 16.0))), even(poles.angle(), torch.pi))


def tangent(poles: Tensor) -> Tensor:
    return _by_tangent(poles, lambda t: even(t, 1.0))


def root_of_tangent(poles: Tensor) -> Tensor:
    return _by_tangent(poles, squared)


def _by_tangent(poles: Tensor, stored: Callable[[Tensor], Tensor]) -> Tensor:
    """Return them by the root of 1 - |p| and the tangent of half of the angle, from the real axis on either side."""
    modulus = poles.abs()
    t = stored(poles.imag.abs() / (modulus + poles.real.abs()))
    radius = 1 - squared(1 - modulus)
    real = (radius * (1 - t * t) / (1 + t * t)).copysign(poles.real)
    return torch.complex(real, (radius * 2 * t / (1 + t * t)).copysign(poles.imag))


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "float16 of real and imaginary part": cartesian,
    "float16 of 1 - Re p, Im p": from_one,
    "float16 of log decay, angle": log_decay,
    "log decay, angle, even steps": log_decay_even,
    "roots of 1 - abs p, tan(angle / 2) itself, even steps": tangent,
    "roots of 1 - abs p and tan(angle / 2), even steps": root_of_tangent,
}


@click.command(help=__doc__)
@click.argument("models", nargs=-1)
def main(models: tuple[str, ...]) -> None:
    click.echo("| model, order | " + " | ".join(FORMS) + " |\n" + "|---" * (len(FORMS) + 1) + "|")
    for name in models or SHIPPED:
        task = load(open_source(str(MODELS / name)))
        order = task.source.defaults["order"]
        reductions = reduce_layers(task.systems, uniform_orders(task.systems, order), "balanced", task.horizon)
        cells = []
        for form in FORMS.values():
            errors = []
            for reduction in reductions.values():
                poles = reduction.system.poles
                rounded = form(poles)
                rounded = torch.where(poles.imag == 0, rounded.real.to(rounded.dtype), rounded)
                error = h2_error(reduction.system, dataclasses.replace(reduction.system, poles=rounded), task.horizon)
                errors.append(100 * float(error.norm() / h2_norm(reduction.system, task.horizon).norm()))
            cells.append(f"{max(errors):.2g} ({sorted(errors)[len(errors) // 2]:.2g})")
        click.echo(f"| {name}, {order} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
