"""The user's source: a model directory with build.toml, or a factory with weights and samples as options."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssm2edge.errors import UserError
from ssm2edge.loading.code import loaded_code
from ssm2edge.options import TABLE
from ssm2edge.signals.shape import Scale, Shape, scales_of, shapes_of

BUILD_FILE = "build.toml"

METRICS = ("accuracy", "nrmse")
"""Metrics of labels."""

KEYS: Mapping[str, frozenset[str]] = {
    "model": frozenset({"factory", "arguments", "weights", "lti"}),
    "samples": frozenset({"file", "shape", "scale", "time_axis", "static", "rate"}),
    "task": frozenset({"metric", "metrics", "classes"}),
    "front_end": frozenset({"kind", "sample_rate", "window", "hop", "mels", "span"}),
    "build": frozenset(TABLE),
}
"""Sections of build.toml and their keys."""


@dataclass(frozen=True)
class Source:
    """A model as its user describes it; nothing is imported or read yet.

    Attributes
    ----------
    given
        SOURCE as typed.
    directory
        Where relative paths start.
    factory
        ``file.py:function`` or ``package.module:function``.
    arguments
        Keyword arguments of the factory.
    weights
        Weights file, or None for the factory's own weights.
    samples
        npz file of samples; None without one.
    time_axis
        Position of time in the inputs' shapes; the batch is axis 0.
    metrics
        Metrics of the labels by output; the empty name stands for all other outputs.
    defaults
        Build options of the model directory.
    classes
        Names of the classes, if they have any.
    front_end
        Front end that turns a recording into the model's input: ``kind``, ``sample_rate``, ``window``, ``hop``, ``mels`` and
        ``span``, the frames of one answer; None if the model does not take recordings.
    lti
        Patterns of the paths of modules that are linear and time-invariant.
    static
        Inputs without a time axis whose arrays have as many axes as those with one.
    shapes
        Shapes of inputs of which there are no samples, in place of a samples file; the empty name stands for the only input.
    scales
        Known means and deviations of inputs.
    rate
        Samples a second of recordings that are the model's input itself; None if it takes none, or a front end stands before it.
    trust_pickle
        Load weights files that can run code.
    in_memory
        The model and its samples are objects of the calling process; no path leads to them.
    """

    given: str
    directory: Path
    factory: str
    samples: Path | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    time_axis: int = 1
    metrics: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    front_end: Mapping[str, Any] | None = None
    lti: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    rate: int | None = None
    trust_pickle: bool = False
    in_memory: bool = False

    @property
    def metric(self) -> str | None:
        """Metric of labels without a name, or None."""
        return self.metrics.get("")

    @property
    def task(self) -> dict[str, Any] | None:
        """The model's task, as the manifest records it."""
        recorded: dict[str, Any] = {} if self.metric is None else {"metric": self.metric}
        if named := {name: metric for name, metric in self.metrics.items() if name}:
            recorded["metrics"] = named
        if self.classes:
            recorded["classes"] = list(self.classes)
        if self.front_end is not None:
            recorded["front_end"] = dict(self.front_end)
        if self.rate is not None:
            recorded["rate"] = self.rate
        return recorded or None

    @property
    def known(self) -> dict[str, Any]:
        """The user's description of inputs of which there are no samples: shapes and scales, as build.toml takes them."""
        if not self.shapes:
            return {}
        entries: dict[str, dict[str, Any]] = {
            "shape": {name: str(shape) for name, shape in self.shapes.items()},
            "scale": {name: [scale.mean.tolist(), scale.deviation.tolist()] for name, scale in self.scales.items()},
        }
        return {key: named[""] if list(named) == [""] else named for key, named in entries.items() if named}

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every existing file of the source, by name: also of the files that its code imported."""
        file = self.factory.rpartition(":")[0]
        alone = file.endswith(".py")
        code = self.directory / file if alone else None
        paths = (self.directory / BUILD_FILE, code, self.weights, self.samples)
        files = {p.name: p.read_bytes() for p in paths if p is not None and p.is_file()}
        # Code in memory may be anybody's, and of a package its own modules count.
        packages = () if alone or self.in_memory else (file.partition(".")[0],)
        files |= loaded_code(self.directory if alone else None, packages)
        return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def open_source(
    given: str,
    weights: Path | None = None,
    samples: Path | None = None,
    time_axis: int | None = None,
    metric: str | Mapping[str, str] | None = None,
    lti: tuple[str, ...] = (),
    trust_pickle: bool = False,
    static: tuple[str, ...] = (),
    shape: Any = None,
    scale: Any = None,
    needed: bool = True,
    rate: int | None = None,
) -> Source:
    """Read SOURCE: a model directory, or ``file.py:function`` with options; options win over build.toml.

    Parameters
    ----------
    given
        SOURCE.
    weights, samples, time_axis, metric, lti, trust_pickle, static, rate
        As fields of :class:`Source`; None or empty where build.toml decides.
    shape
        Shapes in place of samples, as :func:`ssm2edge.signals.shape.shapes_of` reads them.
    scale
        Means and deviations of inputs, as :func:`ssm2edge.signals.shape.scales_of` reads them.
    needed
        Refuse a source of neither samples nor shapes.

    Raises
    ------
    UserError
        If SOURCE is neither, build.toml cannot be read, has unknown keys or lacks some, or no samples are named.
    """
    path, metrics = Path(given), metrics_of(metric)
    if shape and samples is not None:
        raise UserError("There are samples and a shape in place of samples; give one of them.")
    shapes = shapes_of(shape) if shape else {}
    scales = scales_of(scale or None)
    if path.is_dir():
        # "." names nothing to a reader of the report, or from another folder.
        source = _from_directory(given if path.name not in ("", "..") else str(path.resolve()), path)
        return replace(
            source,
            samples=None if shapes else samples or source.samples,
            shapes={} if samples is not None else shapes or source.shapes,
            scales={**source.scales, **scales},
            weights=weights or source.weights,
            time_axis=source.time_axis if time_axis is None else time_axis,
            metrics={**source.metrics, **metrics},
            lti=lti or source.lti,
            static=static or source.static,
            rate=source.rate if rate is None else rate_of(rate, source.front_end),
            trust_pickle=trust_pickle,
        )
    if ":" not in given:
        raise UserError(
            f"{given} is neither a model directory nor a factory; give a directory with {BUILD_FILE}, or file.py:function."
        )
    if needed and samples is None and not shapes:
        raise UserError(
            f"{given} needs samples to check the build against; name an npz file with --samples, or say with --shape what one "
            "sequence looks like."
        )
    file, _, function = given.rpartition(":")
    code = Path(file)
    named = f"{code.name}:{function}" if file.endswith(".py") else given
    directory = code.parent if file.endswith(".py") else Path(".")
    axis = 1 if time_axis is None else time_axis
    return Source(
        given, directory, named, samples, {}, weights, axis, metrics, lti=lti, static=static, shapes=shapes, scales=scales,
        rate=rate_of(rate), trust_pickle=trust_pickle,
    )  # fmt: skip


def metrics_of(metric: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return metrics by output; the empty name stands for all outputs that are not named.

    Raises
    ------
    UserError
        If there is no such metric.
    """
    metrics = {"": metric} if isinstance(metric, str) else dict(metric or {})
    unknown = [name for name in metrics.values() if name not in METRICS]
    if unknown:
        raise UserError(f"There is no metric {unknown[0]!r}; choose one of {', '.join(METRICS)}.")
    return metrics


def rate_of(rate: Any, front_end: Mapping[str, Any] | None = None, key: str = "The rate") -> int | None:
    """Return a rate of samples.

    Parameters
    ----------
    rate
        As the user gives it.
    front_end
        Of the model.
    key
        Name for sentences.

    Raises
    ------
    UserError
        If it is no whole number of at least one, or the front end has a rate already.
    """
    if rate is None:
        return None
    if type(rate) is not int or rate < 1:
        raise UserError(f"{key} is {rate!r}; give the samples a second as a whole number of at least 1.")
    if front_end is not None:
        raise UserError(f"{key} is that of recordings that the model takes as they are, but it has a front end; leave it out.")
    return rate


def _from_directory(given: str, directory: Path) -> Source:
    file = directory / BUILD_FILE
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise UserError(f"{given} has no {BUILD_FILE}; write one, or give file.py:function with --samples.") from fault
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise UserError(f"{file} cannot be read ({fault}); mend it.") from fault
    for section, entries in content.items():
        if section not in KEYS or not isinstance(entries, dict):
            raise UserError(f"{file} has the unknown section [{section}]; known are {', '.join(KEYS)}.")
        unknown = sorted(set(entries) - KEYS[section])
        if unknown:
            raise UserError(f"{file} has the unknown key {section}.{unknown[0]}; known are {', '.join(sorted(KEYS[section]))}.")
    factory = _entry(file, content, "model", "factory", str)
    described = content.get("samples", {})
    if "file" in described and "shape" in described:
        raise UserError(f"{file} gives a file of samples and a shape in place of samples; leave one of them out.")
    samples = None if "shape" in described else _entry(file, content, "samples", "file", str)
    model = content["model"]
    patterns = _entry(file, content, "model", "lti", list) if "lti" in model else []
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise UserError(f"{file} must give model.lti as a list of names of modules.")
    arguments = _entry(file, content, "model", "arguments", dict) if "arguments" in model else {}
    weights = _entry(file, content, "model", "weights", str) if "weights" in model else None
    time_axis = _entry(file, content, "samples", "time_axis", int) if "time_axis" in described else 1
    if time_axis < 1:
        raise UserError(f"{file} gives samples.time_axis as {time_axis}; it must be at least 1, for the batch is axis 0.")
    task = content.get("task", {})
    metrics = {"": _entry(file, content, "task", "metric", str)} if (task and "metrics" not in task) or "metric" in task else {}
    metrics |= _entry(file, content, "task", "metrics", dict) if "metrics" in task else {}
    classes = _entry(file, content, "task", "classes", list) if "classes" in task else []
    if any(type(name) is not str for name in classes) or len(set(classes)) != len(classes):
        raise UserError(f"{file} must give task.classes as different names.")
    for name, metric in metrics.items():
        if metric not in METRICS:
            key = f"task.metrics.{name}" if name else "task.metric"
            raise UserError(f"{file} gives {key} as {metric!r}; known are {', '.join(METRICS)}.")
    static = _entry(file, content, "samples", "static", list) if "static" in described else []
    if not all(isinstance(name, str) for name in static):
        raise UserError(f"{file} must give samples.static as a list of names of inputs.")
    front_end = _front_end(file, content) if "front_end" in content else None
    return Source(
        given,
        directory,
        factory,
        None if samples is None else directory / samples,
        arguments,
        None if weights is None else directory / weights,
        time_axis,
        metrics,
        _with_paths(content.get("build", {}), directory),
        tuple(classes),
        front_end,
        tuple(patterns),
        tuple(static),
        shapes_of(described["shape"]) if "shape" in described else {},
        scales_of(described.get("scale")),
        rate_of(described.get("rate"), front_end, f"samples.rate of {file}"),
    )


def _with_paths(options: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the options of build.toml; a file in them lies beside it."""
    named = options.get("retrain")
    if isinstance(named, str) and named.rpartition(":")[0].endswith(".py"):
        return {**options, "retrain": str(directory / named)}
    return dict(options)


def _front_end(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    kind = _entry(file, content, "front_end", "kind", str)
    if kind != "log-mel":
        raise UserError(f"{file} gives front_end.kind as {kind!r}; known is log-mel.")
    numbers = {key: _entry(file, content, "front_end", key, int) for key in ("sample_rate", "window", "hop", "mels", "span")}
    for key, value in numbers.items():
        if value < 1:
            raise UserError(f"{file} gives front_end.{key} as {value}; it must be at least 1.")
    return {"kind": kind, **numbers}


def _entry(file: Path, content: Mapping[str, Any], section: str, key: str, kind: type) -> Any:
    value = content.get(section, {}).get(key)
    if type(value) is not kind:
        raise UserError(f"{file} must give {section}.{key} as {kind.__name__}.")
    return value
