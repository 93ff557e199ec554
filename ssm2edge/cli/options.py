"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

source_options = (
    click.argument("source"),
    click.option("--weights", type=click.Path(path_type=Path), help="Weights: .safetensors, or a torch file of plain tensors."),
    click.option("--samples", type=click.Path(path_type=Path), help="Samples: .npz with held_out, calibration, labels."),
    click.option(
        "--time-axis", type=click.IntRange(min=1), help="Position of time in the inputs; the batch is axis 0.  [default: 1]"
    ),
    click.option("--metric", type=click.Choice(["accuracy", "nrmse"]), help="What the labels are judged by."),
    click.option(
        "--horizon",
        callback=lambda _, __, text: horizon_of(text),
        help="Taps on which errors count, or inf.  [default: length of the samples]",
    ),
    click.option(
        "--lti",
        multiple=True,
        metavar="MODULE",
        help="A module that is linear and time-invariant, to be measured, as 'blocks.*.ssm'; may be given several times.",
    ),
    click.option("--trust-pickle", is_flag=True, help="Load weights files that can run code."),
)


def with_source(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add SOURCE and the options that describe it to a command."""
    for decorate in reversed(source_options):
        command = decorate(command)
    return command


def horizon_of(text: str | None) -> int | str | None:
    """Read --horizon: a number of taps, inf (None), or nothing ("samples")."""
    if text is None:
        return "samples"
    if text.lower() in ("inf", "infinite", "infinity"):
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of taps, at least 1, nor inf.", param_hint="--horizon")
    if len(text) > LONGEST_HORIZON:
        raise click.BadParameter(f"{text} taps have no end in practice; say inf.", param_hint="--horizon")
    return int(text)


LONGEST_HORIZON = 12
"""Digits of a number of taps: the response of a stable float32 system is over long before."""


def plan_of(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Read --plan: LAYER=FORM, any number of times; None without any."""
    plan = {}
    for text in texts:
        layer, equals, form = text.rpartition("=")
        if not equals or not form:
            raise click.BadParameter(f"{text!r} is not LAYER=FORM, such as 'layers.*=sequence:64'.", param_hint="--plan")
        plan[layer] = form
    return plan or None


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of onnxruntime."
)


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that run the original again."""
    for decorate in (
        click.option("--trust-pickle", is_flag=True, help="With --live: load weights files that can run code."),
        click.option("--weights", type=click.Path(path_type=Path), help="With --live: weights, where the model is a factory."),
        click.option("--source", help="With --live: the model, where it is no longer where it was built from."),
        click.option("--live", is_flag=True, help="Run the original again; needs torch and the model's code."),
    ):
        command = decorate(command)
    return command
