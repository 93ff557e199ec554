"""Samples of uncompressed recordings."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError

UNKNOWN_LENGTH = (1 << 31) - (1 << 12)
"""Bytes of sound from which on a wav file's header does not state the length."""


def read_wav(path: Path) -> NDArray[np.float32]:
    """Return the samples of an uncompressed recording, ``[time, channels]`` float32 from -1 to 1; see `read_recording`."""
    return read_recording(path)[0]


def read_recording(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples of an uncompressed recording, ``[time, channels]`` float32 from -1 to 1, and their number per second.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not integer PCM of 8, 16, 24 or 32 bits.
    """
    try:
        with wave.open(str(path), "rb") as recording:
            width, channels, rate = recording.getsampwidth(), recording.getnchannels(), recording.getframerate()
            stated = recording.getnframes()
            content = recording.readframes(stated)
    except OSError as fault:
        raise UserError(f"{path} cannot be read ({fault.strerror}).") from fault
    except (wave.Error, EOFError) as fault:
        reason = str(fault) or "it ends in its header"
        raise UserError(f"{path} is not a wav file of plain PCM samples ({reason}): convert it to 16 bits.") from fault
    # Programs that write to a pipe cannot know the length, and state the largest one.
    held = len(content) // (width * channels)
    if held < stated and stated * width * channels < UNKNOWN_LENGTH:
        raise UserError(f"{path} is cut short: it says {stated} samples and holds {held}; copy or record it again.")
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
