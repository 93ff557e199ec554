"""Options that several commands share, and those of a build as its table has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ssm2edge.options import DEFAULTS, LONGEST_HORIZON, TABLE

Command = Callable[..., Any]


def horizon_of(text: str | None) -> int | str | None:
    """Read --horizon: a number of taps, or inf; None where it is not given."""
    if text is None:
        return None
    if text.lower() in ("inf", "infinite", "infinity"):
        return "inf"
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of taps, at least 1, nor inf.", param_hint="--horizon")
    if len(text) > len(str(LONGEST_HORIZON)) or int(text) > LONGEST_HORIZON:
        raise click.BadParameter(f"{text} taps have no end in practice; say inf.", param_hint="--horizon")
    return int(text)


def plan_of(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Read --plan: LAYER=FORM, any number of times; None without any."""
    plan = {}
    for text in texts:
        layer, equals, form = text.rpartition("=")
        if not equals or not form:
            raise click.BadParameter(f"{text!r} is not LAYER=FORM, such as 'layers.*=sequence:64'.", param_hint="--plan")
        plan[layer] = form
    return plan or None


def metrics_of(texts: tuple[str, ...]) -> dict[str, str]:
    """Read --metric: METRIC, or OUTPUT=METRIC any number of times."""
    metrics = {}
    for text in texts:
        output, equals, metric = text.rpartition("=")
        if metric not in METRICS or (equals and not output):
            raise click.BadParameter(f"{text!r} is none of {', '.join(METRICS)}, nor OUTPUT={METRICS[0]}.", param_hint="--metric")
        metrics[output] = metric
    return metrics


def named_of(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Read an option that takes VALUE, or INPUT=VALUE any number of times; None without any."""
    return {name: value for name, _, value in (text.rpartition("=") for text in texts)} or None


def scale_of(texts: tuple[str, ...]) -> dict[str, list[float]] | None:
    """Read --scale: MEAN,DEVIATION, or INPUT=MEAN,DEVIATION any number of times."""
    scales = {}
    for name, text in (named_of(texts) or {}).items():
        try:
            mean, deviation = map(float, text.split(","))
        except ValueError as fault:
            raise click.BadParameter(f"{text!r} is not MEAN,DEVIATION, such as 0.13,0.31.", param_hint="--scale") from fault
        scales[name] = [mean, deviation]
    return scales or None


METRICS = ("accuracy", "nrmse")
"""Metrics by which labels can judge."""


def build_option(name: str) -> Callable[[Command], Command]:
    """Make the command-line option of one row of the table."""
    row = TABLE[name]
    default = row.default_text or DEFAULTS[name]
    text = row.help if default is None else f"{row.help}  [default: {default}]"
    flag, more = f"--{name.replace('_', '-')}", dict[str, Any](metavar=row.metavar, help=text)
    if name == "horizon":
        return click.option(flag, callback=lambda _, __, given: horizon_of(given), **more)
    if name == "plan":
        return click.option(flag, multiple=True, callback=lambda _, __, given: plan_of(given), **more)
    return click.option(flag, type=click.Choice(row.choices) if row.choices else row.kinds[-1], **more)


MODEL = (
    click.option("--weights", type=click.Path(path_type=Path), help="Weights: .safetensors, or a torch file of plain tensors."),
    click.option(
        "--samples",
        type=click.Path(path_type=Path),
        help="Samples: .npz with held_out, calibration, labels; or .npy of the one input.",
    ),
    click.option(
        "--shape",
        multiple=True,
        metavar="[INPUT=]SIZES[:KIND]",
        callback=lambda _, __, texts: named_of(texts),
        help="Shape of one sequence of an input, in place of samples: 784,1, or 1024:tokens, 98:mask, :lengths; may be given "
        "several times.",
    ),
    click.option(
        "--scale",
        multiple=True,
        metavar="[INPUT=]MEAN,DEVIATION",
        callback=lambda _, __, texts: scale_of(texts),
        help="With --shape: mean and deviation of an input; may be given several times.  [default: build.toml's, or 0,1]",
    ),
    click.option(
        "--time-axis", type=click.IntRange(min=1), help="Position of time in the inputs; the batch is axis 0.  [default: 1]"
    ),
    click.option(
        "--static",
        multiple=True,
        metavar="INPUT",
        help="An input without a time axis, such as an embedding for the whole sequence; may be given several times.",
    ),
    click.option(
        "--metric",
        multiple=True,
        metavar="[OUTPUT=]METRIC",
        callback=lambda _, __, texts: metrics_of(texts),
        help="Metric by which the labels judge the answers, or one output: accuracy or nrmse; may be given several times.",
    ),
    click.option(
        "--lti",
        multiple=True,
        metavar="MODULE",
        help="A module that is linear and time-invariant, to be measured, as 'blocks.*.ssm'; may be given several times.",
    ),
    click.option("--trust-pickle", is_flag=True, help="Load weights files that can run code."),
)
"""Options that describe a model."""

SOURCE = (click.argument("source"), *MODEL, build_option("horizon"))

LIVE = (
    click.option("--live", is_flag=True, help="Run the original again; needs torch and the model's code."),
    click.option("--source", help="With --live: the model, where it is no longer where it was built from."),
    click.option("--weights", type=click.Path(path_type=Path), help="With --live: weights, where the model is a factory."),
    click.option("--trust-pickle", is_flag=True, help="With --live: load weights files that can run code."),
)

BUILD = tuple(build_option(name) for name in TABLE if name != "horizon")


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Add options to a command, in their order."""

    def add(command: Command) -> Command:
        for decorate in reversed(options):
            command = decorate(command)
        return command

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
verbose_option = click.option("--verbose", is_flag=True, help="Show every check, not only those that failed.")
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of onnxruntime."
)
