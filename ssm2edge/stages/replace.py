"""The model with reduced blocks in its layers' places, traced, and what the blocks do to its outputs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ssm2edge.bounds import bound_record
from ssm2edge.errors import UserError
from ssm2edge.layers import LayerError, blocks, exportable, find_refused, replace_layers
from ssm2edge.options import Options
from ssm2edge.orders.judging import BOUND_STEPS
from ssm2edge.original.recording import first_samples
from ssm2edge.stages.load import Loaded, horizon_of
from ssm2edge.systems.system import System
from ssm2edge.traced import ExportError, InputAxes, Network, TracedModel, trace

SHORTEST_TRIED = 8
"""Lengths, from the shortest on, at which the model is asked for a finite answer."""


def replace(loaded: Loaded, systems: Mapping[str, System]) -> nn.Module:
    """Put blocks with these systems in the layers' places.

    Raises
    ------
    UserError
        If a layer cannot be replaced.
    """
    try:
        return replace_layers(loaded.model, systems)
    except LayerError as error:
        raise UserError(str(error)) from error


def traced_model(replaced: nn.Module, loaded: Loaded) -> TracedModel:
    """Trace a model whose layers are blocks.

    Raises
    ------
    UserError
        If it cannot be exported; layers that were left as they are are named.
    """
    inputs = [
        InputAxes(name, loaded.source.time_axis, torch.from_numpy(value[:1])) for name, value in loaded.samples.held_out.items()
    ]
    try:
        traced = trace(exportable(replaced), inputs)
    except ExportError as error:
        raise UserError(f"{error}{_left_as_they_are(replaced)}") from error
    for name, value in zip(traced.outputs, traced.output_values(), strict=True):
        if not traced.batch_first(value):
            raise UserError(
                f"The model's {name} of shape {tuple(map(str, value.shape))} has no axis for the batch alone in front; give one "
                "answer for each sequence, without mixing the batch or time into it."
            )
    return _from_finite_lengths(traced, replaced, loaded)


def _from_finite_lengths(traced: TracedModel, replaced: nn.Module, loaded: Loaded) -> TracedModel:
    """The same, for lengths from the first on at which the model has a finite answer: one sample has no standard deviation."""
    axis = loaded.source.time_axis
    samples = [torch.from_numpy(value[:1]) for value in loaded.samples.held_out.values()]
    for length in range(traced.shortest, min(loaded.length, traced.shortest + SHORTEST_TRIED * traced.multiple), traced.multiple):
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = replaced(*(value.narrow(axis, 0, length) for value in samples))
        except Exception:  # the user's own code may raise anything; the graph does not run it
            return traced
        if all(bool(value.isfinite().all()) for value in (answer if isinstance(answer, tuple | list) else (answer,))):
            return dataclasses.replace(traced, shortest=length)
    return traced


def _left_as_they_are(replaced: nn.Module) -> str:
    """The layers that no block could replace: they may be what the exporter stumbles over."""
    refused = [f"{layer.name or '(the model)'} ({layer.library})" for layer in find_refused(replaced)]
    if not refused:
        return ""
    return f" Not linear and time-invariant, and so exported as they are: {', '.join(refused)}."


def deployed_systems(reduced_model: nn.Module) -> dict[str, System]:
    """The systems of the float32 blocks that run, by layer."""
    return {name: block.system() for name, block in blocks(reduced_model).items()}


def output_bound(loaded: Loaded, traced: TracedModel, reduced_model: nn.Module, options: Options) -> dict[str, Any]:
    """Bound what the blocks that run do to the outputs."""
    deployed = deployed_systems(reduced_model)
    samples = first_samples(loaded.samples.calibration or loaded.samples.held_out, loaded.source.time_axis, BOUND_STEPS)
    return bound_record(Network(traced.program), loaded.systems, deployed, samples, horizon_of(options, loaded))
