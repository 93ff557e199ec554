"""The value that travels through a build: the user's model, its samples and layers, and the horizon on which errors count."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.cache import attributes, bytecode, key_of, source_code, tool
from ssm2edge.errors import UserError
from ssm2edge.layers import FoundLayer, LayerError, RefusedLayer, Span, exportable, find_refused, replace_layers, span_of
from ssm2edge.loading import Samples, Source
from ssm2edge.original.calling import other_precision
from ssm2edge.systems.system import System
from ssm2edge.traced import ExportError, InputAxes, LengthError, Network, TracedModel, beginning, trace, trace_at
from ssm2edge.traced.inputs import time_of

SHORTEST_TRIED = 8
"""Lengths, from the shortest on, at which the model is asked for a finite answer."""


@dataclass(frozen=True, eq=False)
class Task:
    """A model to build.

    Attributes
    ----------
    source
        The user's description of the model.
    model
        The user's model, on the CPU, in eval mode, called by position; see :func:`ssm2edge.original.calling.called`.
    samples
        Calibration and held-out samples, and labels by output.
    layers
        The LTI layers by name.
    refused
        Layers that are known and not LTI.
    horizon
        Taps on which errors count; None for the infinite horizon.
    outputs
        Names of the outputs.
    fingerprint
        Of the user's parameters, as they are stored.
    only
        The only length that graphs take, where the user asks for one.
    """

    source: Source
    model: nn.Module
    samples: Samples
    layers: Mapping[str, FoundLayer]
    refused: tuple[RefusedLayer, ...]
    horizon: int | None
    outputs: tuple[str, ...]
    fingerprint: str
    only: int | None = None

    @property
    def time_axis(self) -> int:
        """Position of time in the inputs."""
        return self.source.time_axis

    @property
    def held_out(self) -> Mapping[str, NDArray[Any]]:
        """Held-out inputs by name."""
        return self.samples.held_out

    @property
    def first(self) -> dict[str, NDArray[Any]]:
        """One held-out sequence of every input, ``(1, ...)``."""
        return {name: np.ascontiguousarray(value[:1]) for name, value in self.samples.held_out.items()}

    @property
    def length(self) -> int:
        """Time steps of the held-out samples."""
        return self.samples.length

    @property
    def metrics(self) -> tuple[str | None, ...]:
        """The metric of each output, or None."""
        given = self.source.metrics
        return tuple(given.get(name, given.get("")) for name in self.outputs)

    @cached_property
    def systems(self) -> dict[str, System]:
        """The layers' systems by name."""
        return {name: layer.system for name, layer in self.layers.items()}

    @cached_property
    def span(self) -> Span:
        """The lengths on which the layers are these systems."""
        return span_of(self.layers.values(), None if self.horizon is None else max(self.horizon, self.length))

    @cached_property
    def key(self) -> str:
        """Hash of everything but samples on which results computed from the model depend."""
        model, source = self.model, self.source
        return key_of(
            tool(),
            [(name, value.detach()) for name, value in (*model.named_parameters(), *model.named_buffers())],
            repr(model),
            # Two factories, or one with other arguments, may make models that differ in a switch alone.
            source.factory,
            repr(source.arguments),
            attributes(model),
            source_code(source.directory, {type(module) for module in model.modules()}),
            # The code of a class that was typed into a notebook is in no file.
            bytecode(model) if source.in_memory else None,
        )

    @cached_property
    def samples_key(self) -> str:
        """Hash of the samples by which layers are calibrated, and of how they are read."""
        samples = self.samples
        return key_of(samples.calibration, samples.axes, self.length, self.source.metrics)

    @cached_property
    def full(self) -> nn.Module:
        """The model with blocks of full order in its layers' places."""
        return self.replaced(self.systems)

    @cached_property
    def full_traced(self) -> TracedModel:
        """The same, traced."""
        return self.traced(self.full)

    @cached_property
    def network(self) -> Network:
        """The same as bounds and the choice of orders read it."""
        return Network(self.full_traced.program)

    def replaced(self, systems: Mapping[str, System]) -> nn.Module:
        """Put blocks with these systems in the layers' places.

        Raises
        ------
        UserError
            If a layer cannot be replaced.
        """
        try:
            return replace_layers(self.model, systems)
        except LayerError as error:
            raise UserError(str(error)) from error

    def traced(self, replaced: nn.Module) -> TracedModel:
        """Trace the model with blocks in its layers' places.

        Raises
        ------
        UserError
            If it cannot be exported; the sentence names layers that were left as they are.
        """
        axes = self.samples.axes
        rate = self.source.rate
        inputs = [InputAxes(name, axes[name], torch.from_numpy(value), rate) for name, value in self.first.items()]
        try:
            if self.only is None:
                traced = self._spanned(trace(exportable(replaced), inputs, self.outputs))
                if traced.longest is not None and traced.longest < self.length:
                    raise LengthError(
                        f"The model's graph would take no more than {traced.longest} samples, and the samples have "
                        f"{self.length}; give shorter ones.",
                        traced.place,
                    )
            else:
                traced = self._at(self.only, replaced, inputs)
        except LengthError as error:
            try:
                _refuse_other_axis(replaced, inputs, error)
                traced = trace_at(exportable(replaced), inputs, self.length, self.outputs, error.place)
            except ExportError:
                if (clause := other_precision(self.model)) is not None:
                    raise UserError(f"The model cannot be exported, for {clause}.") from error
                raise UserError(f"{error}{_left_as_they_are(replaced)}") from error
        except ExportError as error:
            raise UserError(f"{error}{_left_as_they_are(replaced)}") from error
        for name, value in zip(traced.outputs, traced.output_values(), strict=True):
            if not traced.batch_first(value):
                raise UserError(
                    f"The model's {name} of shape {tuple(map(str, value.shape))} has no axis for the batch alone in front; give "
                    "one answer for each sequence, without mixing the batch or time into it."
                )
        return self._from_finite_lengths(traced, replaced)

    def _spanned(self, traced: TracedModel) -> TracedModel:
        """Bind a traced model to the lengths on which its layers are their systems."""
        longest = min((x for x in (traced.longest, self.span.longest) if x is not None), default=None)
        return dataclasses.replace(traced, shortest=max(traced.shortest, self.span.shortest), longest=longest)

    def _at(self, length: int, replaced: nn.Module, inputs: Sequence[InputAxes]) -> TracedModel:
        """Trace a model for one length, and for all if it can be: a stream of so many samples is made of that."""
        traced = trace_at(exportable(replaced), inputs, length, self.outputs, "the option length")
        try:
            free = trace(exportable(replaced), inputs, self.outputs)
        except LengthError as error:
            return dataclasses.replace(traced, place=error.place)
        return dataclasses.replace(traced, free=dataclasses.replace(free, shortest=length, longest=length))

    def _from_finite_lengths(self, traced: TracedModel, replaced: nn.Module) -> TracedModel:
        """Begin at the first length at which the model has a finite answer: one sample has no standard deviation."""
        samples = [(torch.from_numpy(value), self.samples.axes[name]) for name, value in self.first.items()]
        most = min(self.length, traced.shortest + SHORTEST_TRIED * traced.multiple)
        for length in range(traced.shortest, most, traced.multiple):
            try:
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    answer = replaced(*(beginning(value, axis, length) for value, axis in samples))
            except Exception:  # the user's own code may raise anything; the graph does not run it
                return traced
            if all(bool(value.isfinite().all()) for value in (answer if isinstance(answer, tuple | list) else (answer,))):
                return dataclasses.replace(traced, shortest=length)
        return traced


def _refuse_other_axis(replaced: nn.Module, inputs: Sequence[InputAxes], error: LengthError) -> None:
    """Raise the error if the model is free along another axis: then that is time, and no length is fixed."""
    (_, axis) = time_of(inputs)
    # A mask has no axis of features that time could be.
    fewest = min(entry.example.ndim for entry in inputs if entry.time_axis == axis)
    for other in set(range(1, fewest)) - {axis}:
        moved = [dataclasses.replace(entry, time_axis=other if entry.time_axis == axis else entry.time_axis) for entry in inputs]
        try:
            trace(exportable(replaced), moved)
        except ExportError:
            continue
        raise error


def _left_as_they_are(replaced: nn.Module) -> str:
    """Name the layers that no block could replace: they may be what the exporter stumbles over."""
    refused = [f"{layer.name or '(the model)'} ({layer.library})" for layer in find_refused(replaced)]
    if not refused:
        return ""
    return f" Not linear and time-invariant, and so exported as they are: {', '.join(refused)}."
