"""The user's model, samples and layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.cache import Outputs, Store, attributes, key_of, source_code, tool
from ssm2edge.errors import UserError
from ssm2edge.layers import (
    Examples,
    FoundLayer,
    RefusedLayer,
    check_lengths,
    find_layers,
    find_refused,
    fix_lengths,
    realise_layers,
)
from ssm2edge.loading import Samples, Source, input_names, load_samples, load_user_model
from ssm2edge.options import Options
from ssm2edge.original.devices import Device
from ssm2edge.original.recording import record_outputs
from ssm2edge.systems.system import System


@dataclass(frozen=True, eq=False)
class Loaded:
    """The user's model, samples and layers."""

    source: Source
    model: nn.Module
    samples: Samples
    layers: Mapping[str, FoundLayer]
    refused: tuple[RefusedLayer, ...] = ()

    @property
    def systems(self) -> dict[str, System]:
        """The layers' systems by name."""
        return {name: layer.system for name, layer in self.layers.items()}

    @cached_property
    def key(self) -> str:
        """Hash of everything that what is computed from the model depends on, but for samples."""
        model = self.model
        return key_of(
            tool(),
            [(name, value.detach()) for name, value in (*model.named_parameters(), *model.named_buffers())],
            repr(model),
            # Two factories, or one with other arguments, may make models that differ in a switch alone.
            self.source.factory,
            repr(self.source.arguments),
            attributes(model),
            source_code(self.source.directory, {type(module) for module in model.modules()}),
        )

    @cached_property
    def samples_key(self) -> str:
        """Hash of the samples, and of how they are read."""
        samples, source = self.samples, self.source
        return key_of(samples.calibration, samples.held_out, samples.labels, source.time_axis, source.metric)

    @property
    def length(self) -> int:
        """Time steps of the held-out samples."""
        return int(next(iter(self.samples.held_out.values())).shape[self.source.time_axis])


def load(source: Source, trust_pickle: bool = False) -> Loaded:
    """Load the user's model, weights and samples, and find its layers.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    user = load_user_model(source, trust_pickle)
    samples = load_samples(source.samples, input_names(user.model), source.time_axis, source.metric)
    inputs = [torch.from_numpy(value[:2]) for value in samples.held_out.values()]
    model = realise_layers(user.model, Examples.of(inputs, source.time_axis), source.lti, user.readers)
    length = int(inputs[0].shape[source.time_axis])
    fix_lengths(model, length)
    layers = {layer.name: layer for layer in find_layers(model)}
    check_lengths(layers.values(), length)
    return Loaded(source, model, samples, layers, tuple(find_refused(model)))


def check_labels(loaded: Loaded, answer: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse labels that the model cannot be judged by; ``answer`` is its own on a sample.

    Raises
    ------
    UserError
        If there are classes that the model does not tell apart, or true outputs of another shape than its own.
    """
    labels, (name, scores) = loaded.samples.labels, next(iter(answer.items()))
    if labels is None:
        return
    file = loaded.source.samples
    if labels.dtype.kind == "f":
        if labels.shape[1:] != scores.shape[1:]:
            raise UserError(
                f"{file}: labels are true outputs of shape {labels.shape[1:]} a sample, the model's {name} is "
                f"{scores.shape[1:]}; give them in its shape."
            )
        return
    if scores.shape[1:-1] != labels.shape[1:]:
        wanted = "one class a sample" if labels.ndim == 1 else f"classes of shape {labels.shape[1:]} a sample"
        raise UserError(
            f"{file}: labels are {wanted}, but the model's {name} of shape {scores.shape[1:]} a sample does not score them; give "
            "one class for each row of scores, or leave the labels out."
        )
    least, most, classes = int(labels.min()), int(labels.max()), scores.shape[-1]
    if least < 0 or most >= classes:
        raise UserError(
            f"{file}: labels reach from {least} to {most}, but the model's {name} has {classes} classes, from 0 "
            f"to {classes - 1}; count them as the model does."
        )


def horizon_of(options: Options, loaded: Loaded) -> int | None:
    """The horizon in taps: what the user asked for, or the length of the samples."""
    return loaded.length if isinstance(options.horizon, str) else options.horizon


def original_outputs(
    loaded: Loaded, device: Device, store: Store, progress: Callable[[float], None]
) -> dict[str, NDArray[np.float32]]:
    """What the model answers on the held-out samples, on its device."""
    held_out, axis = loaded.samples.held_out, loaded.source.time_axis
    key = key_of(loaded.key, held_out, axis, device.kind, device.name)
    return store.kept(Outputs(), key, lambda: record_outputs(loaded.model, held_out, axis, progress, device))
