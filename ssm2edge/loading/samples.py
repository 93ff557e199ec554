"""The user's samples: unlabelled calibration inputs, held-out inputs and, if there are any, their labels.

Keys of the npz file: ``calibration.<input>`` and ``held_out.<input>`` with the names of the model's arguments, or of the entries
of the dictionary that it takes (a model of one input may say ``calibration`` and ``held_out``), and ``labels`` for the held-out
ones, or ``labels.<output>`` for each output that has some: classes, or true outputs that are judged by their error.  A part
``validation.<input>`` with ``validation_labels``, by which a size is chosen, may be there.  The first axis counts the samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError
from ssm2edge.loading.arguments import Arguments, Signature
from ssm2edge.signals.draw import Known

Array = NDArray[Any]

PARTS = ("calibration", "validation", "held_out")
LABELS = ("labels", "validation_labels")


@dataclass(frozen=True, eq=False)
class Samples:
    """Arrays of a samples file.

    Attributes
    ----------
    calibration
        Unlabelled inputs by name, ``[samples, ...]``, in the order of ``arguments``; empty if the file has none.
    held_out
        Held-out inputs by name, ``[samples, ...]``, in the same order.
    labels
        Of the held-out part, by output, and by the empty name for the first output: integer classes ``[samples]`` or
        ``[samples, time]``, or true outputs ``[samples, ...]`` float32.
    arguments
        Entry of the inputs into the model.
    axes
        Time axis of each input; None for an input that belongs to the whole sequence.
    known
        What is known of each input of which there are no samples: the held-out ones are synthetic then.
    synthetic
        Number of the calibration samples that are synthetic; they are the last ones.
    validation, validation_labels
        Inputs by which a size is chosen and what judges them, as of the held-out part; empty if there are none.
    """

    calibration: Mapping[str, Array]
    held_out: Mapping[str, Array]
    labels: Mapping[str, Array]
    arguments: Arguments
    axes: Mapping[str, int | None] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    synthetic: int = 0
    validation: Mapping[str, Array] = field(default_factory=dict)
    validation_labels: Mapping[str, Array] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Time steps of the held-out samples."""
        return int(next(self.held_out[name].shape[axis] for name, axis in self.axes.items() if axis is not None))


def load_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a samples file under their keys; see :func:`load_samples`.

    Raises
    ------
    UserError
        If the file cannot be read, or holds one array without a key.
    """
    content = load_samples(path)
    if isinstance(content, np.ndarray):
        raise UserError(f"{path} holds one array without a key; save it as an npz file with held_out.")
    return content


def load_samples(path: Path) -> dict[str, Array] | Array:
    """Read the arrays of a samples file, or the one array of an npy file; pickled objects in it are refused.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the samples file.")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files, among them those of Python's parser
        raise UserError(
            f"{path} is not a readable npz file of plain arrays ({str(error).partition('. ')[0][:120]}); save the samples again."
        ) from error


def samples_of(
    arrays: Mapping[str, Array],
    place: Path,
    takes: Signature,
    time_axis: int,
    metrics: Mapping[str, str] | None = None,
    static: Collection[str] = (),
) -> Samples:
    """Check the arrays of a samples file.

    Parameters
    ----------
    arrays
        Under the keys of the file.
    place
        Place of the arrays, for sentences.
    takes
        Arguments of the model's forward.
    time_axis
        Position of time in each input that runs along it.
    metrics
        Metric by which the labels of each output judge, and by the empty name those of all others: true outputs by ``nrmse``,
        classes otherwise.
    static
        Inputs that have no time axis, though their arrays have as many axes.

    Raises
    ------
    UserError
        If they lack an input, hold other keys, NaN, no samples or no time axis, or sizes do not agree; if labels are no integer
        classes, or no finite true outputs.
    """
    metrics = metrics or {}
    labels, chosen_by = (
        {key.partition(".")[2]: value for key, value in arrays.items() if key.partition(".")[0] == kind} for kind in LABELS
    )
    parts: dict[str, dict[str, Array]] = {part: {} for part in PARTS}
    keys: dict[str, str] = {}
    for key, value in arrays.items():
        part, _, name = key.partition(".")
        if part in LABELS:
            continue
        name = name or takes.only or ""
        if part not in parts or not name:
            raise _unknown(place, key, takes)
        parts[part][name] = value
        keys[name] = key
    if not parts["held_out"]:
        name = next(iter((*takes.needed, *takes.optional)), "<input>")
        raise UserError(f"{place} lacks held_out.{name}; a build is checked on held-out samples of every input.")
    given = tuple(dict.fromkeys((*parts["held_out"], *parts["calibration"], *parts["validation"])))
    try:
        arguments = takes.fill(given)
    except UserError as fault:
        raise UserError(f"{place} {fault}") from fault
    if arguments is None:
        raise _unknown(place, next(keys[name] for name in given if name not in (*takes.needed, *takes.optional)), takes)
    missing = [name for name in arguments.names if name not in parts["held_out"]]
    if missing:
        raise UserError(f"{place} lacks held_out.{missing[0]}; a build is checked on held-out samples of every input.")
    axes = _axes(place, parts["held_out"], time_axis, static)
    # The model gets its inputs in the order of its arguments, not of the file.
    calibration, validation, held_out = (
        {
            name: _checked(place, f"{part}.{name}" if f"{part}.{name}" in arrays else part, values[name], axes[name])
            for name in arguments.names
            if name in values
        }
        for part, values in parts.items()
    )
    for part, values in zip(PARTS, (calibration, validation, held_out), strict=True):
        if values and (set(values) != set(held_out) or len({len(v) for v in values.values()}) != 1):
            raise UserError(f"{place}: the part {part} must hold the same number of samples of every input.")
        steps = [(name, values[name].shape[axis]) for name, axis in axes.items() if axis is not None and name in values]
        for name, count in steps[1:]:
            if count != steps[0][1]:
                raise UserError(
                    f"{place}: {part}.{name} has {count} steps along the time axis {time_axis}, {part}.{steps[0][0]} has "
                    f"{steps[0][1]}; repeat at every step what does not change, or say with --static {name} that it does not run "
                    "along time."
                )
    for part, name, value in (
        (part, name, value)
        for part, values in zip(PARTS, (calibration, validation), strict=False)
        for name, value in values.items()
    ):
        sizes = [[size for i, size in enumerate(x.shape) if i not in (0, axes[name])] for x in (value, held_out[name])]
        if sizes[0] != sizes[1] or value.dtype.kind != held_out[name].dtype.kind:
            raise UserError(
                f"{place}: the {part} part of {name} holds {_described(value)} a sample, the held-out part "
                f"{_described(held_out[name])}; both must be what the model takes."
            )
    count = len(next(iter(held_out.values())))
    if chosen_by and not validation:
        raise UserError(f"{place} has validation_labels, but no validation part that they judge; add it, or leave them out.")
    judged, chosen_by = (
        {
            name: _labels(place, f"{kind}.{name}" if name else kind, value, number, metrics.get(name, metrics.get("")))
            for name, value in given_labels.items()
        }
        for kind, given_labels, number in (
            ("labels", labels, count),
            ("validation_labels", chosen_by, len(next(iter(validation.values()), ()))),
        )
    )
    order = {name: axes[name] for name in arguments.names}
    return Samples(calibration, held_out, judged, arguments, order, validation=validation, validation_labels=chosen_by)


def _unknown(place: Path, key: str, takes: Signature) -> UserError:
    names = takes.needed or takes.optional
    expected = ", ".join(f"{part}.{name}" for part in ("calibration", "held_out") for name in names)
    others = f" (and of {', '.join(takes.optional)}, where they are given)" if takes.needed and takes.optional else ""
    return UserError(
        f"{place} has the key {key!r}; expected are {expected}{others} and labels, and for a part that chooses "
        "the size validation and validation_labels, for inputs are the arguments of the model's forward."
    )


def _axes(place: Path, values: Mapping[str, Array], time_axis: int, static: Collection[str]) -> dict[str, int | None]:
    """Return the time axis of each input; inputs of fewer axes and static inputs have none."""
    absent = [name for name in static if name not in values]
    if absent:
        raise UserError(f"{place} has no input {absent[0]} that could be static; its inputs are {', '.join(values)}.")
    axes = {name: None if name in static or value.ndim <= time_axis else time_axis for name, value in values.items()}
    if all(axis is None for axis in axes.values()):
        name, value = next(iter(values.items()))
        raise UserError(
            f"{place}: held_out.{name} has shape {value.shape}, which has no time axis {time_axis}; at least one input runs "
            "along time: say with --time-axis where it stands."
        )
    return axes


def _described(value: Array) -> str:
    return f"{value.dtype} of shape {value.shape[1:]}"


def _labels(place: Path, key: str, labels: Array, count: int, metric: str | None) -> Array:
    if metric == "nrmse":
        return _true_outputs(place, key, labels, count)
    if labels.dtype.kind == "f" and metric is None:
        head = f"{key.partition('.')[2]}=" if "." in key else ""
        raise UserError(
            f"{place}: {key} are floating-point numbers of shape {labels.shape}; if they are true outputs, say so with --metric "
            f"{head}nrmse ({'task.metrics' if head else 'task.metric'} in build.toml), if classes, give one integer for each of "
            f"the {count} {_part(key)} samples."
        )
    if labels.dtype.kind not in "iu" or labels.shape[:1] != (count,):
        raise UserError(
            f"{place}: {key} has shape {labels.shape} and elements of type {labels.dtype}; give one integer class for each of "
            f"the {count} {_part(key)} samples."
        )
    return labels


def _part(key: str) -> str:
    return "validation" if key.startswith("validation") else "held-out"


def _true_outputs(place: Path, key: str, labels: Array, count: int) -> Array:
    if labels.dtype.kind != "f" or labels.ndim < 2 or len(labels) != count:
        raise UserError(
            f"{place}: {key} has shape {labels.shape} and elements of type {labels.dtype}; nrmse needs the true outputs "
            f"of the {count} {_part(key)} samples, in floating-point numbers."
        )
    if not np.isfinite(labels).all():
        raise UserError(f"{place}: {key} holds NaN or infinite values; give the true outputs of every sample.")
    return labels.astype(np.float32)


def _checked(place: Path, key: str, value: Array, axis: int | None) -> Array:
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # refused below
            value = value.astype(np.float32)
    elif value.dtype.kind in "iu":
        value = value.astype(np.int64)
    elif value.dtype.kind != "b":
        raise UserError(
            f"{place}: {key} has elements of type {value.dtype}; give floating-point numbers, or integers for tokens."
        )
    if axis is not None and value.ndim <= axis:
        raise UserError(f"{place}: {key} has shape {value.shape}, which has no time axis {axis}; the held-out part has one.")
    if value.ndim == 0 or 0 in value.shape:
        raise UserError(f"{place}: {key} has shape {value.shape}; it must hold at least one sample of at least one time step.")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        first = int(np.argwhere(~np.isfinite(value))[0][0])
        raise UserError(f"{place}: {key} holds NaN or infinite values, or some too large for float32 (first in sample {first}).")
    return value
