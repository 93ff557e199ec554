"""Records of the C form and of the graphs for other runtimes, as they were last verified."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DeviceRecord:
    """The C form on one target, as ``ssm2edge verify --target`` found it.

    Attributes
    ----------
    error
        Largest difference from stream.onnx in onnxruntime, relative to the largest magnitude of an output.
    samples
        Samples that were compared.
    flash
        Bytes of code and constants of a program with the step, its start included; None on the host.
    ram
        Bytes of one stream, and of the stack at its deepest; on the host of the stream alone.
    stack
        Bytes of stack of one step; None on the host.
    instructions
        Of one step, the mean over all; None on the host.
    seconds
        Of one step, on the host; None where it was emulated.
    compiler
        Compiler and its version.
    emulator
        Version of QEMU; None on the host.
    stream
        SHA-256 of the stream.onnx.
    """

    error: float
    samples: int
    flash: int | None
    ram: int
    stack: int | None
    instructions: int | None
    seconds: float | None
    compiler: str
    emulator: str | None
    stream: str


@dataclass(frozen=True)
class DeviceGraphRecord:
    """A graph for other runtimes, as ``ssm2edge verify --target onnx`` found it.

    Attributes
    ----------
    error
        Largest difference from the graph that it was made from, relative to the largest magnitude of an output.
    samples
        Samples that were compared.
    length
        Samples of a whole sequence; None for the stream.
    sha256
        SHA-256 of the file.
    made_from
        SHA-256 of the stream.onnx or offline.onnx.
    runtime
        Version of onnxruntime that ran both.
    ports
        SHA-256 of the ports.json that goes with it; None in artifacts that were verified before it was recorded.
    """

    error: float
    samples: int
    length: int | None
    sha256: str
    made_from: str
    runtime: str
    ports: str | None = field(default=None, metadata={"optional": True})
