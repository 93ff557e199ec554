"""Samples from files: ``.npy`` and ``.npz`` arrays, ``.wav`` recordings, fitted to the inputs of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssm2edge.audio.wav import read_recording
from ssm2edge.cli.resampling import Resampling
from ssm2edge.errors import UserError

Array = NDArray[Any]


class Input(Protocol):
    """A model's input, as reading samples needs it; the runtime's `Port` is one."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str | None, ...]: ...
    @property
    def rate(self) -> int | None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def describe(self) -> str: ...


def read_samples(path: Path, inputs: Sequence[Input], resampling: Resampling) -> dict[str, Array]:
    """Return the inputs of a model from a file.

    Parameters
    ----------
    path
        ``.npy``: one sequence or a batch, for a model with one input; ``.npz``: one array per input name; ``.wav``: one sequence
        ``[time, channels]``, samples from -1 to 1.
    inputs
        The inputs of the model.
    resampling
        What becomes of a recording of another rate than the model's.

    Raises
    ------
    UserError
        If the file cannot be read, is a recording of another rate, or its arrays do not fit the model.
    """
    suffix = path.suffix.lower()
    if suffix == ".wav":
        name, rate = _only(inputs, path), inputs[0].rate
        arrays: Mapping[str, Array] = {name: resampling.at(rate, *read_recording(path), path)}
    elif suffix == ".npy":
        arrays = {_only(inputs, path): _load(path)}
    elif suffix == ".npz":
        arrays = _load(path)
    else:
        raise UserError(f"{path} is neither .npy, .npz nor .wav: convert it to one of these.")
    names = [entry.name for entry in inputs]
    if set(arrays) != set(names):
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}, but the model takes {', '.join(names)}.")
    return {entry.name: _fitted(arrays[entry.name], entry, path) for entry in inputs}


def _load(path: Path) -> Any:
    try:
        content = np.load(path, allow_pickle=False)
        return {name: content[name] for name in content.files} if isinstance(content, np.lib.npyio.NpzFile) else content
    except OSError as fault:
        raise UserError(f"{path} cannot be read ({fault.strerror or fault}).") from fault
    except Exception as fault:  # numpy and zipfile raise a dozen kinds on damaged files
        raise UserError(f"{path} is not a plain numpy file ({str(fault)[:80]}): save it again.") from fault


def _only(inputs: Sequence[Input], path: Path) -> str:
    if len(inputs) != 1:
        raise UserError(f"The model takes {len(inputs)} inputs, so {path} must be an .npz file with one array per name.")
    return inputs[0].name


def _converted(value: Array, entry: Input, path: Path) -> Array:
    with np.errstate(over="ignore"):
        found: Array = value.astype(entry.dtype)
    if value.dtype.kind == "f" and (np.isfinite(value) & ~np.isfinite(found)).any():
        largest = np.abs(value[np.isfinite(value)]).max()
        raise UserError(f"{path}: {entry.name} holds {largest:.3g}, which {entry.dtype} cannot hold: scale the samples first.")
    return found


def _fitted(value: Array, entry: Input, path: Path) -> Array:
    """Return the value with a batch axis, and with a channel axis if the only channel was left out."""
    if value.dtype != entry.dtype:
        lossless = np.can_cast(value.dtype, entry.dtype, "same_kind") and value.dtype.kind == entry.dtype.kind
        if not lossless:
            raise UserError(f"{path} holds {value.dtype}, but {entry.name} is {entry.dtype}: convert and scale it first.")
        value = _converted(value, entry, path)
    if value.ndim == len(entry.shape) - 2 and entry.shape[-1] == 1:
        value = value[..., None]
    if value.ndim == len(entry.shape) - 1:
        value = value[None]
    if value.ndim != len(entry.shape):
        raise UserError(f"{path} has shape {value.shape}, but {entry.name} is {entry.describe()}, or one sequence of it.")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        row, *place = np.argwhere(~np.isfinite(value))[0].tolist()
        raise UserError(
            f"{path}: {entry.name} holds NaN or infinite values (first in sequence {row} at {place}), which no later answer "
            "of the sequence recovers from: leave them out, or put a value in their place."
        )
    return value
