"""The user's samples: unlabelled calibration inputs, held-out inputs and, where there are any, their labels.

Keys of the npz file: ``calibration.<input>`` and ``held_out.<input>`` with the names of the model's arguments (a model of one
input may say ``calibration`` and ``held_out``), and ``labels`` for the held-out ones: classes, or true outputs where these are
judged by their error.  The first axis counts the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """Arrays of a samples file.

    Attributes
    ----------
    calibration
        Unlabelled inputs by name, ``[samples, ...]``, in the order of the model's arguments; empty if the file has none.
    held_out
        Held-out inputs by name, ``[samples, ...]``, in the same order.
    labels
        Of the held-out part: integer classes ``[samples]`` or ``[samples, time]``, true outputs ``[samples, ...]`` float32, or
        None.
    """

    calibration: Mapping[str, Array]
    held_out: Mapping[str, Array]
    labels: Array | None


def load_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a samples file; pickled objects in it are refused.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the samples file.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files, among them those of Python's parser
        raise UserError(
            f"{path} is not a readable npz file of plain arrays ({str(error).partition('. ')[0][:120]}); save the samples again."
        ) from error


def samples_of(
    given: Mapping[str, Array], path: Path, names: Sequence[str], time_axis: int, metric: str | None = None
) -> Samples:
    """Check the arrays of a samples file.

    Parameters
    ----------
    given
        Under the keys of the file.
    path
        Place of the arrays, for sentences.
    names
        The model's inputs.
    time_axis
        Position of time in each.
    metric
        Metric by which the labels judge: true outputs by ``nrmse``, classes otherwise.

    Raises
    ------
    UserError
        If they lack an input, hold other keys, NaN, no samples or no time axis, or sizes do not agree; if labels are no integer
        classes, or no finite true outputs.
    """
    arrays = dict(given)
    parts: dict[str, dict[str, Array]] = {"calibration": {}, "held_out": {}}
    labels = arrays.pop("labels", None)
    for key, value in arrays.items():
        part, _, name = key.partition(".")
        name = name or (names[0] if len(names) == 1 else "")
        if part not in parts or name not in names:
            expected = ", ".join(f"{p}.{n}" for p in parts for n in names)
            raise UserError(
                f"{path} has the key {key!r}; expected are {expected} and labels, for inputs are the arguments of the model's "
                "forward that have no default."
            )
        parts[part][name] = _checked(path, key, value, time_axis)
    missing = [name for name in names if name not in parts["held_out"]]
    if missing:
        raise UserError(f"{path} lacks held_out.{missing[0]}; a build is checked on held-out samples of every input.")
    for part, values in parts.items():
        if values and (set(values) != set(names) or len({len(v) for v in values.values()}) != 1):
            raise UserError(f"{path}: the part {part} must hold the same number of samples of every input.")
        steps = [(f"{part}.{name}", value.shape[time_axis]) for name, value in values.items()]
        for name, count in steps[1:]:
            if count != steps[0][1]:
                raise UserError(
                    f"{path}: {name} has {count} steps along the time axis {time_axis}, {steps[0][0]} has {steps[0][1]}; every "
                    "input runs along time: repeat at every step what does not change."
                )
    for name, value in parts["calibration"].items():
        other = parts["held_out"][name]
        sizes = [(x.dtype.kind, *x.shape[1:time_axis], *x.shape[time_axis + 1 :]) for x in (value, other)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{path}: the calibration part of {name} holds {_described(value)} a sample, the held-out part "
                f"{_described(other)}; both must be what the model takes."
            )
    count = len(next(iter(parts["held_out"].values())))
    if labels is not None and metric == "nrmse":
        labels = _true_outputs(path, labels, count)
    elif labels is not None and labels.dtype.kind == "f" and metric is None:
        raise UserError(
            f"{path}: labels are floating-point numbers of shape {labels.shape}; if they are true outputs, say so with --metric "
            f"nrmse (task.metric in build.toml), if classes, give one integer for each of the {count} held-out samples."
        )
    elif labels is not None and (labels.dtype.kind not in "iu" or labels.shape[:1] != (count,)):
        raise UserError(
            f"{path}: labels has shape {labels.shape} and elements of type {labels.dtype}; give one integer class for each of "
            f"the {count} held-out samples."
        )
    # The model is called by position: in the order of its arguments, whatever that of the file.
    calibration, held_out = ({name: values[name] for name in names if name in values} for values in parts.values())
    return Samples(calibration, held_out, labels)


def _described(value: Array) -> str:
    return f"{value.dtype} of shape {value.shape[1:]}"


def _true_outputs(path: Path, labels: Array, count: int) -> Array:
    if labels.dtype.kind != "f" or labels.ndim < 2 or len(labels) != count:
        raise UserError(
            f"{path}: labels has shape {labels.shape} and elements of type {labels.dtype}; nrmse needs the true outputs "
            f"of the {count} held-out samples, in floating-point numbers."
        )
    if not np.isfinite(labels).all():
        raise UserError(f"{path}: labels holds NaN or infinite values; give the true outputs of every sample.")
    return labels.astype(np.float32)


def _checked(path: Path, key: str, value: Array, time_axis: int) -> Array:
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # told below
            value = value.astype(np.float32)
    elif value.dtype.kind in "iu":
        value = value.astype(np.int64)
    else:
        raise UserError(f"{path}: {key} has elements of type {value.dtype}; give floating-point numbers, or integers for tokens.")
    if value.ndim <= time_axis:
        raise UserError(
            f"{path}: {key} has shape {value.shape}, which has no time axis {time_axis}; every input runs along time: give a "
            "mask in place of lengths, and repeat at every step what does not change."
        )
    if 0 in value.shape:
        raise UserError(f"{path}: {key} has shape {value.shape}; it must hold at least one sample of at least one time step.")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        first = int(np.argwhere(~np.isfinite(value))[0][0])
        raise UserError(f"{path}: {key} holds NaN or infinite values, or some too large for float32 (first in sample {first}).")
    return value
