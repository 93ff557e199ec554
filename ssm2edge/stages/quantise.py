"""The weights around the reduced layers, in the precision that was asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ssm2edge.artifact import WeightRecord
from ssm2edge.calibration import Calibrated
from ssm2edge.export.passes.store_integers import stored_bits
from ssm2edge.layers import blocks
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.quantisation import (
    FEWEST,
    NARROWEST,
    Weight,
    allowed_error,
    bits_of,
    grid_of,
    halve,
    round_block,
    round_weights,
    small_parameters,
    small_weights_of,
    weights_of,
)
from ssm2edge.quantisation.grid import MOST, fits_half
from ssm2edge.quantisation.systems import MOST as MOST_ALLOWED

RELAXED = (MOST_ALLOWED, 5 * MOST_ALLOWED, float("inf"))
"""Relative changes of a layer's response that rounding may cost within a budget: more where the graphs do not fit otherwise."""


def is_rounded(options: Options) -> bool:
    """Return True if weights are stored in fewer bits than 32."""
    return options.precision != "float32"


def with_precision(
    task: Task, options: Options, calibrated: Calibrated, excess: Callable[[nn.Module], int] | None = None
) -> nn.Module:
    """Put calibrated systems into the model, and the parameters around them that were rounded and tuned.

    Parameters
    ----------
    task, options
        The model, and the precision asked for.
    calibrated
        Systems and parameters.
    excess
        Returns by how many bytes the graphs of a model exceed a budget; layers are rounded until they do not.  None without one.

    Raises
    ------
    UserError
        If a layer cannot be replaced.
    """
    model = task.replaced(calibrated.systems)
    if not is_rounded(options):
        return model
    if calibrated.around:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in calibrated.around.items():
                parameters[name].copy_(value)
    else:
        _round(model, options)
    _halve(model)
    if excess is not None:
        return _within(model, task, excess)
    matched = calibrated.matched
    _round_systems(model, task, allowed_error(None if matched is None else matched.after))
    return model


def _within(model: nn.Module, task: Task, excess: Callable[[nn.Module], int]) -> nn.Module:
    """Return a copy whose layers are rounded until its graphs do not exceed a budget, as far as there is more to round."""
    for allowed in RELAXED:
        rounded = copy.deepcopy(model)
        _round_systems(rounded, task, allowed)
        if excess(rounded) <= 0:
            break
    return rounded


def weight_records(model: nn.Module, options: Options, reasons: Mapping[str, str]) -> tuple[WeightRecord, ...]:
    """Describe the weights of a rounded model by name, also those that stayed as they were for a reason.

    Where none became integers, those that are too small for it are described, too.
    """
    if not is_rounded(options):
        return ()
    uncalibrated = "without calibration, auto takes 8 bits at most, where they save bytes"
    asked = uncalibrated if options.precision == "auto" else f"--precision {options.precision}"
    records = [_recorded(weight, reasons.get(name, asked)) for name, weight in weights_of(model).items()]
    if any(record.bits < 16 for record in records):
        return tuple(records)
    small = f"fewer than {FEWEST} numbers, or than {NARROWEST} in a row"
    return tuple(records + [_recorded(weight, small) for weight in small_weights_of(model).values()])


def _recorded(weight: Weight, reason: str) -> WeightRecord:
    matrix = weight.matrix().float().numpy()
    return WeightRecord(weight.name, stored_bits(matrix), matrix.size, reason)


def round_network(model: nn.Module, task: Task, options: Options, bits: Mapping[str, int] | None = None) -> None:
    """Round a model with reduced blocks to the nearest numbers of the precision asked for, in place; to bits that are chosen."""
    if is_rounded(options):
        _round(model, options, bits)
        _halve(model)
        _round_systems(model, task, allowed_error(None) if options.max_bytes is None else MOST_ALLOWED)


def rounded_within(
    model: nn.Module, task: Task, options: Options, bits: Mapping[str, int] | None, excess: Callable[[nn.Module], int]
) -> nn.Module:
    """Return a copy that is rounded as :func:`round_network` does it, and its layers further until its graphs fit a budget."""
    if not is_rounded(options):
        return model
    rounded = copy.deepcopy(model)
    _round(rounded, options, bits)
    _halve(rounded)
    return _within(rounded, task, excess)


def set_apart(model: nn.Module, halved: bool = True) -> None:
    """Give the numbers around layers and integers values of their own, in place, as matching and training will.

    Constants that are equal are stored once, and sums with zeros not at all: graphs can be smaller before it than after.  Numbers
    that float16 holds stay so if they are ``halved``, as those of rounded models are.
    """
    of_blocks = {id(parameter) for block in blocks(model).values() for parameter in block.parameters()}
    integers = {
        id(one.parameter)
        for one in weights_of(model).values()
        if any(grid_of(one.matrix().float().numpy(), bits) is not None for bits in MOST)
    }
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in small_parameters(model, {}, of_blocks | integers).values():
            # What float16 holds stays in it: from 1 to 2, in its steps.
            values = 1 + torch.rand(parameter.shape, generator=drawn)
            parameter.copy_(values.half() if halved and fits_half(parameter.float().numpy()) else values)


def _round_systems(model: nn.Module, task: Task, allowed: float) -> None:
    for block in blocks(model).values():
        round_block(block, task.horizon, allowed)


def _round(model: nn.Module, options: Options, bits: Mapping[str, int] | None = None) -> None:
    weights = weights_of(model)
    round_weights(weights, bits_of(weights, options.precision) if bits is None else bits, {})


def _halve(model: nn.Module) -> None:
    """Round what stands beside integer weights and systems to what float16 holds, in place."""
    of_blocks = {id(parameter) for block in blocks(model).values() for parameter in block.parameters()}
    weights = {id(one.parameter) for one in weights_of(model).values()}
    halve(small_parameters(model, {}, of_blocks | weights).values())
