"""RAM of the C form, as its emitter knows it before any compiler has seen it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.recordings import FrontEnd
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.sources import bytes_of, struct_bytes
from ssm2edge.firmware.step import Step, make_step

STACK = 512
"""Bytes of stack that are counted. The functions have counters and sums there, but no arrays: 180 to 410 bytes on a Cortex-M4."""


def ram_of(stream: Path, described: Mapping[str, Any] | None) -> int:
    """Return the bytes of one stream of a streaming graph as C, with its stack and the arrays that go in and come out.

    Parameters
    ----------
    stream
        A stream.onnx.
    described
        The task, as the manifest records it.

    Raises
    ------
    FirmwareError
        If the graph has no C form.
    """
    sound = FrontEnd.of(described)
    return ram_bytes(make_step(read_graph(stream)), None if sound is None else sound.frames)


def ram_bytes(step: Step, sound: LogMel | None) -> int:
    """Return the bytes of a step, of its front end if it has one, of one block in and out, and of the stack."""
    return struct_size(step, sound) + (bytes_of(step.inputs) if sound is None else 2 * sound.hop) + bytes_of(step.outputs) + STACK


def struct_size(step: Step, sound: LogMel | None) -> int:
    """Return the bytes of the struct of one stream, its front end included: states and scratch memory."""
    # A spectrum and a frame of floats, a window of 16-bit samples, and the count of samples in it, at a multiple of four.
    front_end = 0 if sound is None else 4 * (sound.points + sound.mels) + -(-2 * sound.window // 4) * 4 + 4
    return struct_bytes(step) + front_end
