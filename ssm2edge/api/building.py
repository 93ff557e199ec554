"""``ssm2edge.compress`` and ``ssm2edge.build``: from a model to reduced layers, and to an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ssm2edge.api.arguments import check_axis, check_model, check_names, known_of, naming_arguments, path_of, pipeline_of
from ssm2edge.api.opened import Artifact, artifact_of
from ssm2edge.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from ssm2edge.options import BuildOptions
    from ssm2edge.original.task import Task

    Samples = Any
    """An array, a dictionary by input name, a tuple of inputs, an iterable of batches, the path of an npz or npy file."""
    Progress = Callable[[str, float], None]


@naming_arguments
def compress(
    model: nn.Module,
    samples: Samples = None,
    *,
    labels: Any = None,
    held_out: Samples = None,
    validation: Samples = None,
    time_axis: int = 1,
    metric: str | Mapping[str, str] | None = None,
    lti: Sequence[str] = (),
    static: Sequence[str] = (),
    shape: Any = None,
    scale: Any = None,
    readers: Mapping[type[nn.Module], Callable[[nn.Module], Any]] | None = None,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> nn.Module:
    """Return a copy of a model whose LTI layers are reduced blocks, to be trained on, saved or built.

    The copy is called as the model is, has its precision, device, mode and hooks, and the same state-dict names outside of the
    layers.  ``ssm2edge.layers.blocks`` returns its blocks by name, each with its order, error and outcome.

    Parameters
    ----------
    model
        Any module with layers of a known library; it stays as it is.
    samples
        Unlabelled samples, batch first: a tensor or array, a dictionary by input name, a tuple of inputs, a DataLoader or
        another iterable of batches, or the path of an npz or npy file.  Without any, and without a shape, layers are reduced
        for white input.
    labels, held_out
        Labels and samples of which ``max_drop`` chooses on a half; a quarter of the samples is held back unless ``held_out`` is
        given.
    validation
        Samples, with labels behind them, on which ``max_drop`` and ``max_error`` choose in place of that half.
    time_axis
        Position of time in the inputs; the batch is axis 0.
    metric
        Metric of the labels: ``accuracy`` or ``nrmse``; by output name in a dictionary.
    lti
        Patterns of the paths of modules that are linear and time-invariant, as ``blocks.*.ssm``.
    static
        Inputs without a time axis that have as many axes as a sequence, such as an embedding.
    shape
        Shape of one sequence in place of samples: ``(784, 1)``, ``"1024:tokens"`` (symbols), ``"98:mask"`` or ``":lengths"``, by
        input name in a dictionary.  Layers are calibrated on synthetic signals then.
    scale
        With a shape: mean and deviation of the input, numbers or lists of one for each feature; by input name in a dictionary.
    readers
        Functions that return the system of a layer of your own, by the layer's class.
    progress
        Called with the stage's name and the share of it that is done.
    **options
        ``order``, ``keep``, ``max_error``, ``max_drop``, ``method``, ``calibrate`` and others, named as the command's options.

    Raises
    ------
    UserError
        If the model, the samples or an option cannot be used; the sentence names the mend.

    Examples
    --------
    >>> small = ssm2edge.compress(model, samples, order=8, calibrate="match")  # doctest: +SKIP
    """
    pipeline_of()
    from ssm2edge.loading import metrics_of
    from ssm2edge.options import options_from
    from ssm2edge.stages.in_memory import compressed_copy, task_in_memory
    from ssm2edge.stages.progress import silent

    report = silent if progress is None else progress
    check_names(options)
    check_model(model)
    check_axis(time_axis)
    report("load", 0.0)
    described = {"time_axis": time_axis, "metrics": metrics_of(metric), "lti": tuple(lti), "static": tuple(static)}
    described |= known_of(samples, held_out, shape, scale)
    task = task_in_memory(model, samples, held_out, labels, readers, described, validation)
    return compressed_copy(model, task, options_from({}, options), report)


@naming_arguments
def build(
    model: nn.Module | str | os.PathLike[str],
    samples: Samples = None,
    out: str | os.PathLike[str] | None = None,
    *,
    labels: Any = None,
    held_out: Samples = None,
    validation: Samples = None,
    original: nn.Module | None = None,
    weights: str | os.PathLike[str] | None = None,
    time_axis: int | None = None,
    metric: str | Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    lti: Sequence[str] = (),
    static: Sequence[str] = (),
    shape: Any = None,
    scale: Any = None,
    rate: int | None = None,
    readers: Mapping[type[nn.Module], Callable[[nn.Module], Any]] | None = None,
    trust_pickle: bool = False,
    force: bool = False,
    rebuild: bool = False,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> Artifact:
    """Compress a model, export it, verify the graphs and publish them as an artifact.

    Parameters
    ----------
    model
        A module; one that `compress` returned, which keeps its orders; or a model directory or ``file.py:function`` as the
        command line takes it.
    samples
        As for `compress`; of a model directory or factory the path of an npz file, if at all.
    out
        Build directory to make.
    labels
        Labels of the held-out samples, or of all samples where a quarter of these is held back; by output name in a dictionary.
    held_out
        Samples on which the artifact is verified.
    validation
        Samples, with labels behind them, on which ``max_drop`` and ``max_error`` choose; unless given, half of the held-out
        samples, and the other half judges.
    original
        With a compressed model: the model that it came from, by which accuracy and errors are judged.
    weights
        Weights file of a factory.
    time_axis
        Position of time in the inputs; the batch is axis 0.
    metric
        Metric of the labels: ``accuracy`` or ``nrmse``; by output name in a dictionary.
    classes
        Names of the classes.
    lti, static, shape, scale, readers
        As for `compress`; with a shape the artifact is verified on synthetic sequences.
    rate
        Samples a second of recordings that are the model's input; `ssm2edge run` refuses those of another rate.
    trust_pickle
        Load weights files that can run code.
    force
        Replace an artifact that is there already.
    rebuild
        Compute everything again, also finished stages of earlier builds.
    progress
        Called with the stage's name and the share of it that is done.
    **options
        Named as the command's options: ``order``, ``keep``, ``max_error``, ``max_drop``, ``calibrate``, ``block`` and others.

    Returns
    -------
    Artifact
        Verified, on disk.

    Raises
    ------
    UserError
        If anything given cannot be used; the sentence names the mend.
    VerificationError
        If the graphs do not compute the compressed model; nothing is published then.

    Examples
    --------
    >>> built = ssm2edge.build(model, samples, "build/mine", order=8, calibrate="match")  # doctest: +SKIP
    """
    pipeline = pipeline_of()
    from ssm2edge.loading import metrics_of, open_source, rate_of
    from ssm2edge.options import options_from
    from ssm2edge.stages.in_memory import processed, task_in_memory
    from ssm2edge.stages.progress import silent

    report = silent if progress is None else progress
    check_names(options)
    if out is None:
        raise UserError("A build needs a directory to make; name it with out.")
    check_model(model)
    check_axis(time_axis)
    if isinstance(classes, str):
        raise UserError("The classes are one text; give a list of their names.")
    if isinstance(model, str | os.PathLike):
        if any(value is not None for value in (labels, held_out, validation, original, readers)) or classes:
            raise UserError("A model directory or factory brings labels, classes and readers itself; leave these arguments out.")
        source = open_source(
            os.fspath(model), path_of(weights), path_of(samples), time_axis, metric, tuple(lti), trust_pickle, tuple(static),
            shape, scale, rate=rate,
        )  # fmt: skip
        built = pipeline.build(source, options_from(source.defaults, options), Path(out), force, report, rebuild)
        return artifact_of(built)
    if original is not None and (isinstance(original, str | os.PathLike) or not hasattr(original, "named_modules")):
        raise UserError(f"The original is a {type(original).__name__}; give the module that was compressed.")
    named = {"classes": tuple(classes), "lti": tuple(lti), "static": tuple(static), "rate": rate_of(rate)}
    if samples is None and held_out is None and shape is None:
        raise UserError("A build needs samples to verify the artifact on; give some, batch first, or the shape of a sequence.")
    described = {"time_axis": time_axis or 1, "metrics": metrics_of(metric), **named, **known_of(samples, held_out, shape, scale)}
    held = processed(model) if original is not None or _is_compressed(model) else None
    module = model if original is None else original
    task = partial(task_in_memory, module, samples, held_out, labels, readers, described, validation)
    task = task if original is None else partial(_of_original, task)
    return artifact_of(pipeline.build(task, options_from({}, options), Path(out), force, report, rebuild, held))


def _of_original(task: Callable[[], Task]) -> Task:
    """Return the task of an original, whose faults are named as its own."""
    from ssm2edge.layers import LayerError

    try:
        return task()
    except LayerError as error:
        raise UserError(f"The original is not what was compressed; give the model that compress took. {error}") from error


def _is_compressed(model: nn.Module) -> bool:
    from ssm2edge.layers import blocks

    return bool(blocks(model))
