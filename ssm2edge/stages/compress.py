"""The compressed model: every layer reduced and calibrated, or read from a module that is compressed already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ssm2edge.artifact import WeightRecord
from ssm2edge.cache import Store, key_of
from ssm2edge.calibration import Matched
from ssm2edge.errors import UserError
from ssm2edge.layers import Block, FoundLayer, blocks, describe_blocks
from ssm2edge.options import Options, bytes_of
from ssm2edge.orders import Selection
from ssm2edge.original.task import Task
from ssm2edge.quantisation.grid import MOST
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.contract import summarise
from ssm2edge.stages.budgets import excess_of
from ssm2edge.stages.calibrate import calibrate_reductions, with_evoked
from ssm2edge.stages.describe import block_origins, layer_records
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.quantise import round_network, rounded_within, weight_records, with_precision
from ssm2edge.stages.reduce import reduce
from ssm2edge.stages.replace import deployed_systems
from ssm2edge.systems.system import System

ATTEMPTS = 4
"""Choices of a size within a budget of bytes, each with what the graphs of the one before exceeded it by to spare."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """A model whose layers are reduced blocks.

    Attributes
    ----------
    model
        The module, on the CPU.
    reductions
        By layer.
    matched
        What matching on samples did; None without it.
    selection
        What speaks for the size that was chosen on samples; None where none was.
    weights
        Weights outside of the layers in few bits.
    """

    model: nn.Module
    reductions: Mapping[str, Reduction]
    matched: Matched | None
    selection: Selection | None = None
    weights: tuple[WeightRecord, ...] = ()


def compress(task: Task, options: Options, store: Store, progress: Progress) -> Compressed:
    """Reduce every layer, calibrate the reductions, and put blocks in the layers' places.

    Raises
    ------
    UserError
        If the layers cannot be reduced as asked, or nothing meets the request.
    """
    task = with_evoked(task, options, progress)
    excess = excess_of(task, options)
    asked, limit = options, bytes_of(options.max_bytes)
    for _ in range(ATTEMPTS):
        reductions, selection, chosen = reduce(task, asked, store, progress)
        bits = None if chosen is None else chosen.bits
        calibrated = calibrate_reductions(task, options, reductions, store, progress, final=True, bits=bits)
        model = with_precision(task, options, calibrated, excess)
        over = 0 if excess is None else excess(model)
        if limit is None or over <= 0:
            break
        # Graphs were measured before calibration, which turns real poles into pairs: these take more nodes.
        limit -= over
        asked = dataclasses.replace(asked, max_bytes=limit)
    origins = block_origins(layer_records(task.layers, deployed_systems(model), reductions), reductions)
    origins = {name: dataclasses.replace(origin, weights=_digest(task, task.layers[name])) for name, origin in origins.items()}
    describe_blocks(model, origins)
    reasons = calibrated.reasons if chosen is None else chosen.reasons
    return Compressed(model, reductions, calibrated.matched, selection, weight_records(model, options, reasons))


def compressed_already(
    task: Task,
    model: nn.Module,
    options: Options,
    chosen: Sequence[WeightRecord] = (),
    excess: Callable[[nn.Module], int] | None = None,
) -> tuple[Task, Compressed]:
    """Read the reductions of a compressed module by comparing its blocks with the original's layers.

    Parameters
    ----------
    task
        Of the original.
    model
        The original's compressed form, on the CPU in float32; it may have been trained since.  It is rounded, in
        place where there is no budget.
    options
        The precision to round to.
    chosen
        Weights whose bits were chosen before the model was trained.
    excess
        Returns by how many bytes the graphs of a model exceed the budget that chose its size; None without one.

    Returns
    -------
    Task
        With its layers in the form in which the blocks hold them.
    Compressed
        The module and its reductions.

    Raises
    ------
    UserError
        If the blocks stand for other layers than the original has.
    """
    bits = {weight.name: weight.bits for weight in chosen if weight.bits in MOST}
    kept = bits if chosen and options.precision == "auto" else None
    if excess is None:
        round_network(model, task, options, kept)
    else:
        model = rounded_within(model, task, options, kept, excess)
    held = blocks(model)
    if set(held) != set(task.layers):
        raise UserError(
            f"The compressed model has blocks for {_listed(held)}, but the original has the layers {_listed(task.layers)}; give "
            "the original that it was compressed from."
        )
    layers, reductions = {}, {}
    for name, layer in task.layers.items():
        system = held[name].system()
        if _ports(system) != _ports(layer.system):
            raise UserError(
                f"The compressed model's block for {_listed([name])} has {_described(system)}, but the original's layer has "
                f"{_described(layer.system)}; give the original that it was compressed from."
            )
        origin, digest = held[name].origin, _digest(task, layer)
        if origin is not None and digest and origin.weights not in ("", digest):
            raise UserError(
                f"The compressed model's block for {_listed([name])} was made of other weights than the original's layer "
                "has; give the original that it was compressed from."
            )
        if layer.system.after_sample and not system.after_sample:
            layer = dataclasses.replace(layer, system=layer.system.paper_form())
        layers[name] = layer
        reductions[name] = summarise(layer.system, system, "none" if origin is None else origin.method, task.horizon)
    weights = weight_records(model, options, {weight.name: weight.reason for weight in chosen})
    return dataclasses.replace(task, layers=layers), Compressed(model, reductions, None, weights=weights)


def _digest(task: Task, layer: FoundLayer) -> str:
    """Return the digest of a layer's parameters; empty for a block, and for a layer that was measured on samples."""
    module = task.model.get_submodule(layer.module)
    if layer.realised is not None or isinstance(module, Block):
        return ""
    return key_of(*(part for name, value in module.named_parameters() for part in (name, value)))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name or "(the model)" for name in names) or "no layer"


def _ports(system: System) -> tuple[tuple[int, ...], int, int]:
    return tuple(system.batch_shape), system.inputs, system.outputs


def _described(system: System) -> str:
    if system.batch_shape:
        return f"{system.batch_shape.numel()} channels"
    return f"{system.inputs} inputs and {system.outputs} outputs"
