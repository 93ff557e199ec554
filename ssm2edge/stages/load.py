"""The task: the user's model, samples and layers; and what the model answers on its held-out samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.cache import Outputs, Store, key_of
from ssm2edge.errors import UserError
from ssm2edge.layers import Examples, check_lengths, find_layers, find_refused, fix_lengths, realise_layers
from ssm2edge.loading import Samples, Source, UserModel, input_names, load_arrays, load_user_model, samples_of
from ssm2edge.original.devices import Device
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.stages.progress import Progress


def load(source: Source) -> Task:
    """Load the user's model, weights and samples, and find its layers.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    user = load_user_model(source)
    return task_of(source, user, load_arrays(source.samples))


def task_of(source: Source, user: UserModel, arrays: Mapping[str, NDArray[Any]]) -> Task:
    """Check samples and find the layers of a model; errors count on the length of the held-out samples.

    Parameters
    ----------
    source
        The user's description.
    user
        The model.
    arrays
        Samples under the keys of a samples file.

    Raises
    ------
    UserError
        If the samples cannot be used, a layer cannot be read, or there is none.
    """
    samples = samples_of(arrays, source.samples, input_names(user.model), source.time_axis, source.metric)
    inputs = [torch.from_numpy(value[:2]) for value in samples.held_out.values()]
    model = realise_layers(user.model, Examples.of(inputs, source.time_axis), source.lti, user.readers)
    length = int(inputs[0].shape[source.time_axis])
    fix_lengths(model, length)
    layers = {layer.name: layer for layer in find_layers(model)}
    check_lengths(layers.values(), length)
    return Task(source, model, samples, layers, tuple(find_refused(model)), length)


def task_without_samples(source: Source, user: UserModel) -> Task:
    """Find the layers of a model of which there are no samples; errors count on the length of the layers, if they have one.

    Raises
    ------
    UserError
        If a layer cannot be read, or there is none.
    """
    if source.lti:
        raise UserError("Layers named by lti are measured on samples; give some.")
    layers = {layer.name: layer for layer in find_layers(user.model)}
    lengths = [layer.lengths[-1] for layer in layers.values() if layer.lengths is not None]
    horizon = min(lengths, default=None)
    if horizon is not None:
        check_lengths(layers.values(), horizon)
    return Task(source, user.model, Samples({}, {}, None), layers, tuple(find_refused(user.model)), horizon)


def check_labels(task: Task, answer: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse labels that the model cannot be judged by; ``answer`` is its own on a sample.

    Raises
    ------
    UserError
        If there are classes that the model does not tell apart, or true outputs of another shape than its own.
    """
    labels, (name, scores) = task.samples.labels, next(iter(answer.items()))
    if labels is None:
        return
    file = task.source.samples
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


def original_outputs(task: Task, device: Device, store: Store, progress: Progress) -> dict[str, NDArray[np.float32]]:
    """Return the model's answers on the held-out samples, computed on its device."""
    progress("original", 0.0)
    key = key_of(task.key, task.held_out, task.time_axis, device.kind, device.name)
    return store.kept(
        Outputs(),
        key,
        lambda: record_outputs(task.model, task.held_out, task.time_axis, lambda share: progress("original", share), device),
    )
