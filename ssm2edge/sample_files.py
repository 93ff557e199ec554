"""Samples from files: ``.npy`` and ``.npz`` arrays, ``.wav`` recordings, fitted to what a model takes."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError

Array = NDArray[Any]

UNKNOWN_LENGTH = (1 << 31) - (1 << 12)
"""Bytes of sound from which on a wav file's header does not say how long it is."""


class Input(Protocol):
    """What must be known of a model's input; the runtime's `Port` is one."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str | None, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def describe(self) -> str: ...


def read_samples(path: Path, inputs: Sequence[Input]) -> dict[str, Array]:
    """Inputs of a model from a file.

    Parameters
    ----------
    path
        ``.npy``: one sequence or a batch, for a model with one input; ``.npz``: one array per input name; ``.wav``: one sequence
        ``[time, channels]``, samples from -1 to 1.
    inputs
        What the model takes.

    Raises
    ------
    UserError
        If the file cannot be read or its arrays do not fit the model.
    """
    suffix = path.suffix.lower()
    if suffix == ".wav":
        arrays: Mapping[str, Array] = {_only(inputs, path): read_wav(path)}
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


def read_wav(path: Path) -> NDArray[np.float32]:
    """Samples of an uncompressed recording, ``[time, channels]`` float32 from -1 to 1; see `read_recording`."""
    return read_recording(path)[0]


def read_recording(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples of an uncompressed recording, ``[time, channels]`` float32 from -1 to 1, and how many there are a second.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not integer PCM of 8, 16, 24 or 32 bits.
    """
    try:
        with wave.open(str(path), "rb") as recording:
            width, channels, rate = recording.getsampwidth(), recording.getnchannels(), recording.getframerate()
            told = recording.getnframes()
            content = recording.readframes(told)
    except OSError as fault:
        raise UserError(f"{path} cannot be read ({fault.strerror}).") from fault
    except (wave.Error, EOFError) as fault:
        reason = str(fault) or "it ends in its header"
        raise UserError(f"{path} is not a wav file of plain PCM samples ({reason}): convert it to 16 bits.") from fault
    # Programs that write to a pipe cannot know the length, and say the largest one.
    held = len(content) // (width * channels)
    if held < told and told * width * channels < UNKNOWN_LENGTH:
        raise UserError(f"{path} is cut short: it says {told} samples and holds {held}; copy or record it again.")
    if width == 1:
        samples = np.frombuffer(content, np.uint8).astype(np.float32) / 128.0 - 1.0
    elif width == 3:
        # Three bytes become the upper three of a little-endian 32-bit integer.
        padded = np.zeros((len(content) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(content, np.uint8, len(padded) * 3).reshape(-1, 3)
        samples = padded.view("<i4")[:, 0].astype(np.float32) / 2.0**31
    elif width in (2, 4):
        samples = np.frombuffer(content, f"<i{width}").astype(np.float32) / 2.0 ** (8 * width - 1)
    else:
        raise UserError(f"{path} has samples of {8 * width} bits: convert it to 16.")
    return samples[: len(samples) // channels * channels].reshape(-1, channels).astype(np.float32), rate


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


def _fitted(value: Array, entry: Input, path: Path) -> Array:
    """The value with a batch axis, and with a channel axis where the only channel was left out."""
    if value.dtype != entry.dtype:
        lossless = np.can_cast(value.dtype, entry.dtype, "same_kind") and value.dtype.kind == entry.dtype.kind
        if not lossless:
            raise UserError(f"{path} holds {value.dtype}, but {entry.name} is {entry.dtype}: convert and scale it first.")
        value = value.astype(entry.dtype)
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
