"""The task: the user's model, samples and layers; and what the model answers on its held-out samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.cache import Outputs, Store, key_of
from ssm2edge.errors import UserError
from ssm2edge.layers import Examples, check_lengths, find_layers, find_refused, fix_lengths, fix_rates, realise_layers
from ssm2edge.loading import (
    Arguments,
    Samples,
    Signature,
    Source,
    UserModel,
    arrays_in_memory,
    held_out,
    known_of_shapes,
    load_user_model,
    samples_of,
)
from ssm2edge.original.calling import called
from ssm2edge.original.devices import Device
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.signals.draw import Known
from ssm2edge.stages.progress import Progress


def load(source: Source) -> Task:
    """Load the user's model, weights and samples, and find its layers.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    user = load_user_model(source)
    if source.samples is None:
        return task_of_shapes(source, user) if source.shapes else task_without_samples(source, user)
    arrays = arrays_in_memory(source.samples, None, None, Signature.of(user.model).main)
    return task_of(source, user, arrays)


def task_of_shapes(source: Source, user: UserModel) -> Task:
    """Find the layers of a model of which there are no samples but shapes: synthetic sequences are held out.

    Raises
    ------
    UserError
        If the model does not take inputs of these shapes, a layer cannot be read, or there is none.
    """
    known = known_of_shapes(source, user.model)
    arrays = {f"held_out.{name}": value for name, value in held_out(known).items()}
    return task_of(source, user, arrays, known)


def task_of(
    source: Source, user: UserModel, arrays: Mapping[str, NDArray[Any]], known: Mapping[str, Known] | None = None
) -> Task:
    """Check samples, find the outputs and the layers of a model; errors count on the length of the held-out samples.

    Parameters
    ----------
    source
        The user's description.
    user
        The model.
    arrays
        Samples under the keys of a samples file.
    known
        What synthetic samples were drawn from.

    Raises
    ------
    UserError
        If the samples cannot be used, labels judge no output of the model, a layer cannot be read, or there is none.
    """
    place = source.samples or Path("the shapes")
    samples = samples_of(arrays, place, Signature.of(user.model), source.time_axis, source.metrics, source.static)
    inputs = [torch.from_numpy(value[:2]) for value in samples.held_out.values()]
    model, outputs = called(user.model, samples.arguments, [value[:1] for value in inputs])
    unknown = [name for name in source.metrics if name and name not in outputs]
    if unknown:
        raise UserError(
            f"There is a metric of {unknown[0]}, but the model's outputs are {', '.join(outputs)}; name one of these."
        )
    labels, chosen_by = (labels_by_output(found, outputs, str(place)) for found in (samples.labels, samples.validation_labels))
    samples = dataclasses.replace(samples, labels=labels, validation_labels=chosen_by, known=known or {})
    examples = Examples.of(inputs, list(samples.axes.values()))
    model = realise_layers(model, examples, source.lti, user.readers)
    fix_rates(model, examples)
    fix_lengths(model, samples.length)
    layers = {layer.name: layer for layer in find_layers(model, unstable=True)}
    check_lengths(layers.values(), samples.length)
    return Task(source, model, samples, layers, tuple(find_refused(model)), samples.length, outputs, user.fingerprint)


def task_without_samples(source: Source, user: UserModel) -> Task:
    """Find the layers of a model of which there are no samples; errors count on the length of the layers, if they have one.

    Raises
    ------
    UserError
        If a layer cannot be read, or there is none.
    """
    if source.lti:
        raise UserError("Layers named by lti are measured on samples; give some.")
    layers = {layer.name: layer for layer in find_layers(user.model, unstable=True)}
    lengths = [layer.lengths[-1] for layer in layers.values() if layer.lengths is not None]
    horizon = min(lengths, default=None)
    if horizon is not None:
        check_lengths(layers.values(), horizon)
    nothing, refused = Samples({}, {}, {}, Arguments((), ())), tuple(find_refused(user.model))
    return Task(source, user.model, nothing, layers, refused, horizon, (), user.fingerprint)


def labels_by_output(labels: Mapping[str, NDArray[Any]], outputs: Sequence[str], place: str) -> dict[str, NDArray[Any]]:
    """Return labels in the order of the outputs that they judge; those without a name judge the first output.

    Raises
    ------
    UserError
        If they name an output that there is not, or name the first one that has labels already.
    """
    named = {name or outputs[0]: value for name, value in labels.items()}
    if len(named) < len(labels):
        raise UserError(f"{place}: labels and labels.{outputs[0]} judge the same output; leave one of them out.")
    unknown = [name for name in named if name not in outputs]
    if unknown:
        raise UserError(
            f"{place} has labels.{unknown[0]}, but the model has no output {unknown[0]}; its outputs are {', '.join(outputs)}."
        )
    return {name: named[name] for name in outputs if name in named}


def check_labels(task: Task, answers: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse labels that the model cannot be judged by; ``answers`` are its own on a sample.

    Raises
    ------
    UserError
        If there are classes that the model does not score, or true outputs of another shape than its own.
    """
    classes, scores = task.source.classes, next(iter(answers.values()))
    if classes and len(classes) != scores.shape[-1]:
        raise UserError(f"There are names of {len(classes)} classes, but the model scores {scores.shape[-1]}; name each of them.")
    for part, judging in (("labels", task.samples.labels), ("validation_labels", task.samples.validation_labels)):
        for name, labels in judging.items():
            key = part if list(judging) == list(task.outputs[:1]) else f"{part}.{name}"
            _check_labels(f"{task.source.samples}: {key}", labels, name, answers[name])


def _check_labels(place: str, labels: NDArray[Any], name: str, scores: NDArray[np.float32]) -> None:
    if labels.dtype.kind == "f":
        if labels.shape[1:] != scores.shape[1:]:
            raise UserError(
                f"{place} are true outputs of shape {labels.shape[1:]} a sample, the model's {name} is {scores.shape[1:]}; give "
                "them in its shape."
            )
        return
    if scores.shape[1:-1] != labels.shape[1:]:
        wanted = "one class a sample" if labels.ndim == 1 else f"classes of shape {labels.shape[1:]} a sample"
        raise UserError(
            f"{place} are {wanted}, but the model's {name} of shape {scores.shape[1:]} a sample does not score them; give one "
            "class for each row of scores, or leave the labels out."
        )
    least, most, classes = int(labels.min()), int(labels.max()), scores.shape[-1]
    if least < 0 or most >= classes:
        raise UserError(
            f"{place} reach from {least} to {most}, but the model's {name} has {classes} classes, from 0 to {classes - 1}; count "
            "them as the model does."
        )


def original_outputs(
    task: Task, inputs: Mapping[str, NDArray[Any]], device: Device, store: Store, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """Return the model's answers on samples, computed on its device."""
    progress("original", 0.0)
    key = key_of(task.key, inputs, task.time_axis, device.kind, device.name)
    return store.kept(
        Outputs(),
        key,
        lambda: record_outputs(task.model, inputs, task.time_axis, lambda share: progress("original", share), device),
    )
