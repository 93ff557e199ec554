"""RAM of the C form, as its emitter knows it before any compiler has seen it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.recordings import FrontEnd
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.sources import struct_bytes
from ssm2edge.firmware.step import Step, make_step

STACK = 512
"""Bytes of stack that are counted. The functions have counters and sums there, but no arrays: 180 to 320 bytes on a Cortex-M4."""


def ram_of(stream: Path, described: Mapping[str, Any] | None) -> int:
    """Return the bytes of one stream of a streaming graph as C: states, scratch memory, front end and stack.

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
    """Return the bytes of a step, and of its front end if it has one."""
    # A spectrum and a frame of floats, a window of 16-bit samples, and the count of samples in it, at a multiple of four.
    front_end = 0 if sound is None else 4 * (sound.points + sound.mels) + -(-2 * sound.window // 4) * 4 + 4
    return struct_bytes(step) + front_end + STACK
