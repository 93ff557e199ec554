"""Tasks of models that are objects of the calling process, and what goes back to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ssm2edge.cache import Store
from ssm2edge.errors import UserError
from ssm2edge.layers import put
from ssm2edge.loading import Signature, UserModel, arrays_in_memory, baked, copied, fingerprint_of, ready, source_in_memory
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.quantisation import weights_of
from ssm2edge.stages.compress import compress
from ssm2edge.stages.converging import converging
from ssm2edge.stages.load import task_of, task_of_shapes, task_without_samples
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.quantise import is_rounded
from ssm2edge.stages.resolve import check, resolve
from ssm2edge.traced import forgetting_traces
from ssm2edge.workers import giving_memory_back, one_thread_each

Readers = Mapping[type[nn.Module], Callable[[nn.Module], Any]]


@converging()
def task_in_memory(
    model: nn.Module,
    samples: Any,
    held_out: Any,
    labels: Any,
    readers: Readers | None,
    described: Mapping[str, Any],
    validation: Any = None,
) -> Task:
    """Make a task of a module, which stays as it is.

    Parameters
    ----------
    model
        In any mode, on any device, in any precision.
    samples, held_out, labels, validation
        See :func:`ssm2edge.loading.memory.arrays_in_memory`; no samples for a task that nothing is run in.
    readers
        What reads the system of a layer, by the layer's class.
    described
        Fields of the source.

    Raises
    ------
    UserError
        If the model or the samples cannot be used.
    """
    user = UserModel(processed(model), readers or {}, fingerprint_of(model))
    source = source_in_memory(model, **described)
    with one_thread_each():
        if samples is None and held_out is None:
            return task_of_shapes(source, user) if source.shapes else task_without_samples(source, user)
        samples, held_out = (held_out, None) if samples is None else (samples, held_out)
        return task_of(source, user, arrays_in_memory(samples, held_out, labels, Signature.of(user.model).main, validation))


def processed(model: nn.Module) -> nn.Module:
    """Return a copy of a module as builds take it: on the CPU, in float32, in eval mode, without the wrappers of training.

    Raises
    ------
    UserError
        If it cannot be copied, or a weight is not finite.
    """
    return ready(copied(model).to("cpu").float(), type(model).__name__)


@giving_memory_back()
@forgetting_traces()
@converging()
def compressed_copy(model: nn.Module, task: Task, options: Options, progress: Progress) -> nn.Module:
    """Return a copy of a module with reduced blocks in its layers' places; all else is the module's own.

    Parameters
    ----------
    model
        As the caller gave it.
    task
        Made of it.
    options
        How to compress.
    progress
        Called as the stages go on.

    Raises
    ------
    UserError
        If the layers cannot be reduced as asked, or the module's precision does not hold rounded weights.
    """
    check(options)
    if options.retrain is not None:
        raise UserError("A compressed module is trained by its owner: leave --retrain out, and train what compress returns.")
    if is_rounded(options):
        _check_holds_integers(model, options)
    store = Store(None)
    with one_thread_each():
        task, options, _ = resolve(task, options)
        found = compress(task, options, store, progress)
    result = transplanted(copied(model), found.model, {layer.module for layer in task.layers.values()})
    if is_rounded(options):
        _take_parameters(_baked_in_its_mode(result), found.model)
    return result


def _check_holds_integers(model: nn.Module, options: Options) -> None:
    """Raise an error for a module in half precision: integers times steps are no such numbers, so rounding would be lost."""
    half = (torch.float16, torch.bfloat16)
    for name, weight in weights_of(model).items():
        if weight.parameter.dtype in half:
            kind = str(weight.parameter.dtype).removeprefix("torch.")
            raise UserError(
                f"{name} is {kind}, which does not hold integers times steps, as --precision {options.precision} makes them; "
                "give the model in float32, model.float()."
            )


def _baked_in_its_mode(model: nn.Module) -> nn.Module:
    """Replace parametrized tensors of a module by their values, in place: only those can be rounded."""
    training = {module: module.training for module in model.modules()}
    baked(model.eval())
    for module, mode in training.items():
        module.training = mode
    return model


def _take_parameters(model: nn.Module, rounded: nn.Module) -> None:
    """Copy parameters of the same names, in the model's precision and on its device."""
    values = dict(rounded.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])


def transplanted(model: nn.Module, compressed: nn.Module, paths: set[str]) -> nn.Module:
    """Put the replaced layers of a compressed copy into a module, in its precision, on its device and in its mode.

    Parameters
    ----------
    model
        Holds the original layers; it is changed in place.
    compressed
        Holds their replacements at the same paths.
    paths
        Of the layers.
    """
    places = dict(model.named_modules(remove_duplicate=False))
    # A module of several layers, as a filter of several uses, is replaced as a whole.
    for path in sorted({_place_of(path, places) for path in paths}):
        original, replacement = places[path], compressed.get_submodule(path)
        like = next((x for x in (*original.parameters(), *original.buffers()) if x.is_floating_point() or x.is_complex()), None)
        if like is not None:
            replacement = replacement.to(like.device, like.dtype.to_real())
        replacement.train(original.training)
        if path == "":
            return replacement
        # A layer that several parts of the model share stays shared.
        for place in [name for name, module in places.items() if module is original]:
            put(model, place, replacement)
    return model


def _place_of(path: str, places: Mapping[str, nn.Module]) -> str:
    while path not in places:
        path = path.rpartition(".")[0]
    return path
