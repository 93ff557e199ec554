"""The door: compress, build, inspect and open, in the user's own process.

Torch, onnx and onnxruntime are imported when a function needs them; a base install opens, runs, streams and verifies artifacts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from ssm2edge.errors import Error, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ssm2edge.artifact import Artifact as Files
    from ssm2edge.artifact import Manifest
    from ssm2edge.options import BuildOptions
    from ssm2edge.original.task import Task
    from ssm2edge.pipeline import Built
    from ssm2edge.runtime import Stream
    from ssm2edge.tables.results import Compared, Inspected, Measured, Verified
    from ssm2edge.verification import Verdict
    from ssm2edge.verification.gate import Policy

    Samples = Any
    """An array, a dictionary by input name, a tuple of inputs, an iterable of batches, the path of an npz or npy file."""
    Progress = Callable[[str, float], None]

__all__ = ["Artifact", "build", "compress", "inspect", "open"]

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def naming_arguments(function: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """Let the errors of a function name its arguments, where they would name options of the command line."""

    @wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        try:
            return function(*args, **kwargs)
        except Error as error:
            from ssm2edge.options import as_arguments

            error.name_arguments(as_arguments)
            raise

    return called


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
        another iterable of batches, or the path of an npz or npy file.  Without any, layers are reduced for white input.
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
    _pipeline()
    from ssm2edge.loading import metrics_of
    from ssm2edge.options import options_from
    from ssm2edge.stages.in_memory import compressed_copy, task_in_memory
    from ssm2edge.stages.progress import silent

    report = silent if progress is None else progress
    _check_names(options)
    _check_model(model)
    _check_axis(time_axis)
    report("load", 0.0)
    described = {"time_axis": time_axis, "metrics": metrics_of(metric), "lti": tuple(lti), "static": tuple(static)}
    described |= _known(samples, held_out, shape, scale)
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
    pipeline = _pipeline()
    from ssm2edge.loading import metrics_of, open_source, rate_of
    from ssm2edge.options import options_from
    from ssm2edge.stages.in_memory import processed, task_in_memory
    from ssm2edge.stages.progress import silent

    report = silent if progress is None else progress
    _check_names(options)
    if out is None:
        raise UserError("A build needs a directory to make; name it with out.")
    _check_model(model)
    _check_axis(time_axis)
    if isinstance(classes, str):
        raise UserError("The classes are one text; give a list of their names.")
    if isinstance(model, str | os.PathLike):
        if any(value is not None for value in (labels, held_out, validation, original, readers)) or classes:
            raise UserError("A model directory or factory brings labels, classes and readers itself; leave these arguments out.")
        source = open_source(
            os.fspath(model), _path(weights), _path(samples), time_axis, metric, tuple(lti), trust_pickle, tuple(static),
            shape, scale, rate=rate,
        )  # fmt: skip
        built = pipeline.build(source, options_from(source.defaults, options), Path(out), force, report, rebuild)
        return Artifact._of(built)
    if original is not None and (isinstance(original, str | os.PathLike) or not hasattr(original, "named_modules")):
        raise UserError(f"The original is a {type(original).__name__}; give the module that was compressed.")
    named = {"classes": tuple(classes), "lti": tuple(lti), "static": tuple(static), "rate": rate_of(rate)}
    if samples is None and held_out is None and shape is None:
        raise UserError("A build needs samples to verify the artifact on; give some, batch first, or the shape of a sequence.")
    described = {"time_axis": time_axis or 1, "metrics": metrics_of(metric), **named, **_known(samples, held_out, shape, scale)}
    held = processed(model) if original is not None or _is_compressed(model) else None
    module = model if original is None else original
    task = partial(task_in_memory, module, samples, held_out, labels, readers, described, validation)
    task = task if original is None else partial(_of_original, task)
    return Artifact._of(pipeline.build(task, options_from({}, options), Path(out), force, report, rebuild, held))


@naming_arguments
def inspect(
    model: nn.Module | str | os.PathLike[str],
    samples: Samples = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    time_axis: int | None = None,
    metric: str | Mapping[str, str] | None = None,
    lti: Sequence[str] = (),
    static: Sequence[str] = (),
    shape: Any = None,
    scale: Any = None,
    readers: Mapping[type[nn.Module], Callable[[nn.Module], Any]] | None = None,
    trust_pickle: bool = False,
    horizon: int | str = "samples",
    progress: Callable[[str], None] | None = None,
) -> Inspected:
    """Return the LTI layers of a model and the cost of each order; the result prints as tables.

    Parameters
    ----------
    model, samples, weights, time_axis, metric, lti, static, shape, scale, readers, trust_pickle
        As for `build`; samples and shapes may be left out.
    horizon
        Taps on which errors count, or ``inf``.
    progress
        Called with the name of each layer.

    Raises
    ------
    UserError
        If anything given cannot be used; the sentence names the mend.
    """
    pipeline = _pipeline()
    from ssm2edge.loading import metrics_of, open_source
    from ssm2edge.stages.in_memory import task_in_memory
    from ssm2edge.tables.results import Inspected

    _check_model(model)
    _check_axis(time_axis)

    source: Any
    if isinstance(model, str | os.PathLike):
        source = open_source(
            os.fspath(model), _path(weights), _path(samples), time_axis, metric, tuple(lti), trust_pickle, tuple(static),
            shape, scale, needed=False,
        )  # fmt: skip
    else:
        named = {"lti": tuple(lti), "static": tuple(static), **_known(samples, None, shape, scale)}
        described = {"time_axis": time_axis or 1, "metrics": metrics_of(metric), **named}
        source = partial(task_in_memory, model, samples, None, None, readers, described)
    found = pipeline.inspect(source, horizon, progress or (lambda layer: None))
    return Inspected(found.layers, found.kept_layers, found.weights)


def _known(samples: Samples, held_out: Samples, shape: Any, scale: Any) -> dict[str, Any]:
    """Return the fields of a source that say what is known of inputs without samples."""
    from ssm2edge.signals.shape import scales_of, shapes_of

    if shape is not None and (samples is not None or held_out is not None):
        raise UserError("There are samples and a shape in place of samples; give one of them.")
    return {"shapes": {} if shape is None else shapes_of(shape), "scales": scales_of(scale)}


def open(directory: str | os.PathLike[str]) -> Artifact:
    """Open a build directory; every file is compared with its recorded hash first.

    Raises
    ------
    UserError
        If a file is missing, damaged or foreign.

    Examples
    --------
    >>> artifact = ssm2edge.open("build/digits")  # doctest: +SKIP
    >>> artifact.run(pixels)["output"]  # doctest: +SKIP
    """
    from ssm2edge.artifact import open_artifact

    if not isinstance(directory, str | os.PathLike):
        raise UserError(f"The directory is a {type(directory).__name__}; give the path of an artifact.")
    return Artifact(open_artifact(directory))


class Artifact:
    """A build directory: its graphs run, are verified, timed and compared.  A base install suffices.

    Attributes
    ----------
    verdict
        The checks of the build; None where the artifact was opened from disk.
    seconds
        Duration of the build; None where it was opened from disk.
    decided
        Sentences on the size and the block that the build decided itself; None where the user gave them.
    """

    def __init__(
        self, files: Files, verdict: Verdict | None = None, seconds: float | None = None, decided: str | None = None
    ) -> None:
        self._files, self.verdict, self.seconds, self.decided = files, verdict, seconds, decided

    @classmethod
    def _of(cls, built: Built) -> Artifact:
        from ssm2edge.artifact import Artifact as Files

        return cls(Files(built.directory, built.manifest), built.verdict, built.seconds, built.decided)

    @property
    def directory(self) -> Path:
        """The build directory."""
        return self._files.directory

    @property
    def manifest(self) -> Manifest:
        """Layers, errors, accuracy, latency, sizes and versions, as the build recorded them."""
        return self._files.manifest

    @property
    def report(self) -> Path:
        """The page of the build."""
        return self._files.path("report.html")

    def run(self, samples: Any, *, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Return the outputs on whole sequences, by name.

        Parameters
        ----------
        samples
            ``(batch, time, ...)``, or one such array per input name; tensors are taken, too.
        threads
            Threads within an operator.

        Raises
        ------
        Error
            If a name, dtype, shape or length does not fit.
        """
        from ssm2edge.runtime import Model

        with Model(self.directory, threads=threads) as model:
            return model.run(_arrays(samples))

    def stream(self, batch: int = 1, *, threads: int = 1) -> Stream:
        """Open a stream, to be used in a ``with`` statement: ``push`` samples as they come.

        Raises
        ------
        Error
            If the model cannot stream; the sentence gives the reason.
        """
        from ssm2edge.runtime import Stream

        return Stream(self.directory, batch, threads=threads)

    def verify(self, *, threads: int = 1, progress: Callable[[str], None] | None = None) -> Verified:
        """Run every check on the directory, without torch and without the model's code."""
        from ssm2edge.artifact import open_artifact
        from ssm2edge.tables.results import Verified
        from ssm2edge.verification import Subject, time_graphs, verify

        files = open_artifact(self.directory)
        verdict = verify(files, threads=threads, progress=progress)
        return Verified(files.manifest, verdict, time_graphs(Subject.of(files, threads=threads)))

    def bench(self, *, threads: int | Sequence[int] = 1, seconds: float = 10.0) -> Measured:
        """Measure latency, throughput and memory here; ``seconds`` is the most that one comparison takes."""
        from ssm2edge.tables.results import Measured
        from ssm2edge.verification import Subject
        from ssm2edge.verification.bench import bench

        found = bench(Subject.of(self._files), threads=(threads,) if isinstance(threads, int) else tuple(threads), budget=seconds)
        return Measured(self.directory, self.manifest, found)

    def compare(self, baseline: Artifact | str | os.PathLike[str], *, policy: Policy | None = None, threads: int = 1) -> Compared:
        """Compare sizes, costs, errors, accuracy and latency with a baseline, as ``ssm2edge check`` does.

        Parameters
        ----------
        baseline
            An artifact, its directory, or its ``manifest.json``.
        policy
            Limits, as ``ssm2edge.verification.gate.read_policy`` reads them.
        threads
            Threads within an operator.
        """
        from ssm2edge.tables.results import Compared
        from ssm2edge.verification.gate import Policy, compare, open_baseline

        place = baseline.directory if isinstance(baseline, Artifact) else baseline
        return Compared(compare(self._files, open_baseline(place), policy or Policy(), threads=threads))

    def show(self, console: Any) -> None:
        """Print layers, accuracy and latency."""
        from ssm2edge.tables.artifact import show_artifact

        show_artifact(console, self.directory, self.manifest)

    def __repr__(self) -> str:
        return f"Artifact({str(self.directory)!r})"

    def __str__(self) -> str:
        from ssm2edge.tables.results import text_of

        return text_of(self.show)

    def _repr_html_(self) -> str:
        from ssm2edge.tables.results import html_of

        return html_of(self.show)


def _pipeline() -> Any:
    try:
        from ssm2edge import pipeline
    except ModuleNotFoundError as missing:
        raise UserError(f"This needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'.") from missing
    return pipeline


def _check_model(model: object) -> None:
    """Refuse what is neither a module nor a place."""
    from torch import nn

    if not isinstance(model, nn.Module | str | os.PathLike):
        raise UserError(f"The model is a {type(model).__name__}; give a torch.nn.Module, a model directory or file.py:function.")


def _check_axis(time_axis: object) -> None:
    if time_axis is not None and (type(time_axis) is not int or time_axis < 1):
        raise UserError(f"The time axis is {time_axis!r}; it must be a whole number of at least 1, for the batch is axis 0.")


def _check_names(options: Mapping[str, Any]) -> None:
    from ssm2edge.options import TABLE

    unknown = next((name for name in options if name not in TABLE), None)
    if unknown is not None:
        raise UserError(f"There is no option {unknown}; the options are {', '.join(TABLE)}.")


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


def _path(given: Any) -> Path | None:
    return None if given is None else Path(given)


def _arrays(samples: Any) -> Any:
    """Return arrays of tensors, without importing torch."""
    if isinstance(samples, Mapping):
        return {name: _arrays(value) for name, value in samples.items()}
    return samples.detach().cpu().numpy() if hasattr(samples, "detach") else samples
