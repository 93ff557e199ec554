"""Recordings for models with a front end: from the wav file to frames, or to the words in it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.audio.listening import Heard, Listener
from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.wav import read_recording
from ssm2edge.errors import UserError

PIECE = 0.02
"""Seconds of sound a device hands over at a time."""


@dataclass(frozen=True)
class FrontEnd:
    """What the manifest says of a model's front end: its frames, how many an answer is about, and the names of the classes."""

    frames: LogMel
    span: int
    classes: Sequence[str]

    @classmethod
    def of(cls, task: Mapping[str, Any] | None) -> FrontEnd | None:
        """The front end of a manifest's task; None where recordings are no input."""
        told = (task or {}).get("front_end")
        if told is None:
            return None
        frames = LogMel(told["sample_rate"], told["window"], told["hop"], told["mels"])
        return cls(frames, told["span"], tuple((task or {}).get("classes", ())))

    def name(self, index: int) -> str:
        """Name of a class, or its number."""
        return self.classes[index] if index < len(self.classes) else str(index)

    def read(self, path: Path) -> NDArray[np.float32]:
        """One channel of a recording: the mean of its channels.

        Raises
        ------
        UserError
            If the file cannot be read, has another sample rate, or is too short for a frame.
        """
        signal, rate = read_recording(path)
        if rate != self.frames.sample_rate:
            raise UserError(f"{path} has {rate} samples a second, but the model hears {self.frames.sample_rate}: convert it.")
        if len(signal) < self.frames.window:
            raise UserError(f"{path} has {len(signal)} samples, but a frame takes {self.frames.window}: give a longer recording.")
        mixed: NDArray[np.float32] = signal.mean(axis=1, dtype=np.float32)
        return mixed


@dataclass(frozen=True)
class Listened:
    """What was heard in a recording, how long it is and how long listening took, in seconds."""

    heard: tuple[Heard, ...]
    audio: float
    spent: float

    @property
    def factor(self) -> float:
        """How many times faster than real time."""
        return self.audio / max(self.spent, 1e-9)


def listen(directory: Path, front_end: FrontEnd, signal: NDArray[np.float32], threads: int) -> Listened:
    """Hand a recording over piece by piece, as a microphone does, and collect what is heard."""
    rate = front_end.frames.sample_rate
    piece = max(1, round(PIECE * rate))
    with Listener(directory, front_end.frames, front_end.span, threads=threads) as listener:
        start = time.perf_counter()
        heard = [answer for at in range(0, len(signal), piece) for answer in listener.push(signal[at : at + piece])]
        heard += listener.flush()
        spent = time.perf_counter() - start
    return Listened(tuple(heard), len(signal) / rate, spent)
