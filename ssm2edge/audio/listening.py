"""Words in sound as it comes in: a front end, a gate that waits for sound above the background, and a stream.

A model trained on clips of one length answers about one clip: so many frames, from a little before the sound begins.  The gate
finds the start of a clip, the stream starts afresh there, and its running answer at the end of the clip (or of the sound) is the
word.  Only the gate looks ahead, by a few frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ssm2edge.audio.log_mel import LogMel, LogMelStream
from ssm2edge.runtime.errors import InputError
from ssm2edge.runtime.finite import check_finite
from ssm2edge.runtime.ports import Array
from ssm2edge.runtime.stream import Stream


@dataclass(frozen=True)
class Heard:
    """One answer.

    Attributes
    ----------
    index
        The class with the largest score.
    probability
        Its softmax.
    start, end
        Seconds since the first sample: the frames that were louder than the background.
    """

    index: int
    probability: float
    start: float
    end: float


@dataclass(frozen=True)
class Gate:
    """When a clip begins.

    Attributes
    ----------
    rise
        Smallest excess of the mean log energy over that of the background.
    frames
        Number of consecutive frames that exceed it.
    lead
        Frames before these that belong to the clip.
    memory
        Frames whose quietest stretch is the background; it is smoothed over ``frames``.
    """

    rise: float = 0.7
    frames: int = 4
    lead: int = 12
    memory: int = 150


class Listener:
    """Recognises words in one sound with a streaming graph.

    Parameters
    ----------
    path
        Build directory.
    front_end
        The front end with which the model was trained.
    span
        Frames of a clip.
    gate
        When a clip begins.
    threads
        Threads within an operator.

    Raises
    ------
    InputError
        If the graph does not turn frames into one row of class scores.
    """

    def __init__(
        self, path: str | os.PathLike[str], front_end: LogMel, span: int, *, gate: Gate | None = None, threads: int = 1
    ) -> None:
        self._stream = Stream(path, threads=threads)
        inputs, outputs = self._stream.inputs, self._stream.outputs
        if len(inputs) != 1 or inputs[0].shape[-1] != front_end.mels or len(outputs) != 1 or outputs[0].time_axis is not None:
            raise InputError(f"The stream does not turn frames of {front_end.mels} energies into one answer: it cannot listen.")
        self._frames = LogMelStream(front_end)
        self._front_end, self._span, self._gate = front_end, span, gate or Gate()
        self._past = np.zeros((0, front_end.mels), np.float32)
        self._loudness: list[float] = []
        self._count = self._fed = self._loud = 0
        self._start = self._end = 0
        self._scores: NDArray[np.float32] | None = None
        self._listening = False

    def push(self, samples: Array) -> list[Heard]:
        """Take samples ``[samples]`` from -1 to 1; return the clips that end within them.

        Raises
        ------
        InputError
            If a sample is not finite, or no float; none is taken then.
        """
        given = np.asarray(samples)
        if given.dtype.kind != "f":
            raise InputError(
                f"samples is {given.dtype}, but sound is taken as floats from -1 to 1: convert it first, for 16 bits "
                "samples.astype(numpy.float32) / 32768."
            )
        check_finite("samples", given)
        heard = [self._frame(frame) for frame in self._frames.push(given)]
        return [answer for answer in heard if answer is not None]

    def flush(self) -> list[Heard]:
        """End the sound: return the unfinished clip, if any, and start afresh."""
        answer = self._answer() if self._listening else None
        self._frames = LogMelStream(self._front_end)
        self._past, self._loudness = self._past[:0], []
        self._count = self._loud = 0
        return [] if answer is None else [answer]

    def close(self) -> None:
        """Release the session's memory."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _frame(self, frame: NDArray[np.float32]) -> Heard | None:
        """Take one frame; return the answer if it ends a clip."""
        gate = self._gate
        self._loudness = [*self._loudness[-gate.memory - gate.frames :], float(frame.mean())]
        self._past = np.concatenate((self._past[-gate.lead - gate.frames + 1 :], frame[None]))
        self._count += 1
        loud = self._is_loud()
        self._loud = self._loud + 1 if loud else 0
        if self._listening:
            self._feed(frame[None])
            self._end = self._count if loud else self._end
            return self._answer() if self._fed >= self._span else None
        if self._loud == gate.frames:
            self._listening, self._fed = True, 0
            self._start, self._end = self._count - gate.frames, self._count
            self._stream.reset()
            self._feed(self._past)
        return None

    def _is_loud(self) -> bool:
        """Return True if this frame is louder than the background."""
        gate, loudness = self._gate, np.array(self._loudness)
        if len(loudness) < gate.frames:
            return False
        background = np.convolve(loudness, np.full(gate.frames, 1 / gate.frames), "valid").min()
        return bool(loudness[-1] > background + gate.rise)

    def _feed(self, frames: NDArray[np.float32]) -> None:
        answers = self._stream.push(frames[None])
        self._fed += len(frames)
        self._scores = next(iter(answers.values()))[0] if answers else self._scores

    def _answer(self) -> Heard | None:
        """Stop listening and return the answer about the clip; None if no block was full yet."""
        self._listening, self._loud = False, 0
        scores, self._scores = self._scores, None
        if scores is None:
            return None
        index = int(scores.argmax())
        probability = float(1.0 / np.exp(scores - scores[index]).sum())
        second = self._front_end.hop / self._front_end.sample_rate
        return Heard(index, probability, self._start * second, self._end * second)
