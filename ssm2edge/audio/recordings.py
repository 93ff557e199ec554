"""Recordings for models with a front end: from the wav file to frames, or to the words in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.audio.listening import Heard, Listener
from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.wav import read_recording
from ssm2edge.errors import UserError

AtRate = Callable[[int, NDArray[Any], int, Path], NDArray[Any]]
"""Takes a rate, a recording, its own rate and its path; returns the recording at the rate."""

PIECE = 0.02
"""Seconds of sound that a device passes on at a time."""


@dataclass(frozen=True)
class FrontEnd:
    """A model's front end in the manifest: its frames, the frames of one answer, and the names of the classes."""

    frames: LogMel
    span: int
    classes: Sequence[str]

    @classmethod
    def of(cls, task: Mapping[str, Any] | None) -> FrontEnd | None:
        """Return the front end of a manifest's task; None if the model does not take recordings."""
        recorded = (task or {}).get("front_end")
        if recorded is None:
            return None
        frames = LogMel(recorded["sample_rate"], recorded["window"], recorded["hop"], recorded["mels"])
        return cls(frames, recorded["span"], tuple((task or {}).get("classes", ())))

    def name(self, index: int) -> str:
        """Return the name of a class, or its number."""
        return self.classes[index] if index < len(self.classes) else str(index)

    def read(self, path: Path, at: AtRate) -> NDArray[np.float32]:
        """Return one channel of a recording: the mean of its channels.

        Parameters
        ----------
        path
            Of the recording.
        at
            Returns a recording at the rate of the frames, or refuses it.

        Raises
        ------
        UserError
            If the file cannot be read, or is too short for a frame.
        """
        signal = at(self.frames.sample_rate, *read_recording(path), path)
        if len(signal) < self.frames.window:
            raise UserError(f"{path} has {len(signal)} samples, but a frame takes {self.frames.window}: give a longer recording.")
        mixed: NDArray[np.float32] = signal.mean(axis=1, dtype=np.float32)
        return mixed


@dataclass(frozen=True)
class Listened:
    """The answers about a recording, its duration and the time that listening took, in seconds."""

    heard: tuple[Heard, ...]
    audio: float
    spent: float

    @property
    def factor(self) -> float:
        """Duration of the recording relative to the time of listening: above 1, faster than real time."""
        return self.audio / max(self.spent, 1e-9)


def listen(directory: Path, front_end: FrontEnd, signal: NDArray[np.float32], threads: int) -> Listened:
    """Pass a recording on piece by piece, as a microphone does, and collect the answers."""
    rate = front_end.frames.sample_rate
    piece = max(1, round(PIECE * rate))
    with Listener(directory, front_end.frames, front_end.span, threads=threads) as listener:
        start = time.perf_counter()
        heard = [answer for at in range(0, len(signal), piece) for answer in listener.push(signal[at : at + piece])]
        heard += listener.flush()
        spent = time.perf_counter() - start
    return Listened(tuple(heard), len(signal) / rate, spent)
