"""Inputs and outputs of a graph, from its declarations and metadata: names, shapes, dtypes, axes.

All values are plain data, read once when a graph is opened; the classes that run graphs follow them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.runtime.errors import GraphError, InputError
from ssm2edge.runtime.finite import check_finite

Array = NDArray[Any]

SCHEMA = "1"

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes
    ----------
    name
        Name in the graph.
    shape
        One entry per axis: an int if the graph fixes it, else its symbol (or None).
    dtype
        Element type.
    time_axis
        Axis along which time runs; None for an input given once, or an output that is a final (streaming: running) answer.
    rate
        Samples a second of an input that takes recordings; None where the build was not given any.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: np.dtype[Any]
    time_axis: int | None
    rate: int | None = None

    def along_time(self, start: int, stop: int) -> tuple[slice, ...]:
        """Return the index of samples ``start`` to ``stop`` of an array of this port."""
        assert self.time_axis is not None
        return (slice(None),) * self.time_axis + (slice(start, stop),)

    def check(self, value: Array) -> None:
        """Raise `InputError` unless dtype, number of axes and every fixed axis but time are as declared, and samples finite."""
        if value.dtype != self.dtype:
            raise InputError(
                f"{self.name} is {value.dtype}, but the model takes {self.dtype}: "
                f"convert it first, {self.name}.astype(numpy.{self.dtype})."
            )
        fits = value.ndim == len(self.shape) and all(
            not isinstance(wanted, int) or axis == self.time_axis or wanted == size
            for axis, (wanted, size) in enumerate(zip(self.shape, value.shape, strict=True))
        )
        if not fits:
            raise InputError(f"{self.name} has shape {tuple(value.shape)}, but the model takes {self.describe()}.")
        check_finite(self.name, value)

    def describe(self) -> str:
        """Return the shape in words, ``[batch, time, 1]``."""
        names = ["time" if axis == self.time_axis else "batch" if axis == 0 else size for axis, size in enumerate(self.shape)]
        return "[" + ", ".join("any" if name is None else str(name) for name in names) + "]"


@dataclass(frozen=True)
class State:
    """One state of a streaming graph, as its metadata declare it.

    Attributes
    ----------
    input, output
        Names of the graph's input and output that carry it.
    shape
        Shape without the batch axis.
    initial
        Value of every element before the first sample.
    dtype
        Element type.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    initial: float
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class LayerPort:
    """One reduced layer of an offline graph.

    Attributes
    ----------
    name
        Of the layer; ``@2`` and so on for further calls of the same one.
    output
        Its output value.
    input
        Its input value; None in graphs that do not name it.
    """

    name: str
    output: str
    input: str | None


@dataclass(frozen=True)
class Signature:
    """The declarations of a graph.

    Attributes
    ----------
    kind
        ``"offline"`` (whole sequences) or ``"stream"`` (one block).
    block
        Samples per block; None for offline graphs.
    inputs, outputs
        The model's own, without states.
    states
        Empty for offline graphs.
    frame
        Samples that belong together because the model changes the rate of time: outputs come for whole frames. One for most
        models. Lengths of an offline graph are multiples of it.
    shortest
        Smallest number of samples that an offline graph takes.
    only, longest
        The only number of samples of a sequence, and the largest; None where any will do.
    layers
        The reduced layers of an offline graph.
    """

    kind: str
    block: int | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...]
    frame: int = 1
    shortest: int = 1
    only: int | None = None
    longest: int | None = None
    layers: tuple[LayerPort, ...] = ()

    def gather(self, samples: Array | Mapping[str, Array]) -> tuple[Array, ...]:
        """Return the inputs in the graph's order, after a check of names, dtypes, shapes, and a common batch and length.

        Parameters
        ----------
        samples
            An array if the model has one input, or one array per input name.

        Raises
        ------
        InputError
            If a name, dtype or shape is not what the graph declares, or batches or lengths differ between inputs.
        """
        names = [port.name for port in self.inputs]
        if isinstance(samples, Mapping):
            if set(samples) != set(names):
                raise InputError(f"The inputs given are {_listed(samples)}, but the model takes {_listed(names)}.")
            values = tuple(_array(name, samples[name]) for name in names)
        elif len(names) == 1:
            values = (_array(names[0], samples),)
        else:
            raise InputError(f"The model takes {len(names)} inputs: give a mapping with the names {_listed(names)}.")
        for port, value in zip(self.inputs, values, strict=True):
            port.check(value)
        batches = {value.shape[0] for value in values}
        if len(batches) != 1 or batches == {0}:
            raise InputError(f"The inputs have batch sizes {_listed(sorted(batches))}: give all the same, at least 1.")
        lengths = {self._length(port, value) for port, value in zip(self.inputs, values, strict=True)} - {None}
        if len(lengths) > 1:
            raise InputError("The inputs have different lengths along time: cut them to the same number of samples.")
        return values

    def length(self, values: Sequence[Array]) -> int:
        """Return the number of samples along time of inputs that `gather` returned."""
        lengths = (self._length(port, value) for port, value in zip(self.inputs, values, strict=True))
        return next((length for length in lengths if length is not None), 0)

    @staticmethod
    def _length(port: Port, value: Array) -> int | None:
        return None if port.time_axis is None else int(value.shape[port.time_axis])


def read_signature(
    name: str,
    metadata: Mapping[str, str],
    inputs: Sequence[tuple[str, str, Sequence[int | str | None]]],
    outputs: Sequence[tuple[str, str, Sequence[int | str | None]]],
) -> Signature:
    """Join a graph's metadata with the tensors it declares.

    Parameters
    ----------
    name
        File name, for errors.
    metadata
        The ``ssm2edge.*`` properties.
    inputs, outputs
        ``(name, type, shape)`` as the graph declares them, with types as onnxruntime spells them.

    Raises
    ------
    GraphError
        If the graph is foreign, of another schema, or its metadata and its tensors contradict each other.
    """
    if "ssm2edge.schema" not in metadata:
        raise GraphError(f"{name} was not made by ssm2edge: it has no ssm2edge.schema in its metadata.")
    if metadata["ssm2edge.schema"] != SCHEMA:
        raise GraphError(
            f"{name} has schema {metadata['ssm2edge.schema']}, but this version of ssm2edge reads {SCHEMA}: build it again."
        )
    given = {key: (_dtype(name, key, kind), tuple(shape)) for key, kind, shape in inputs}
    taken = {key: (_dtype(name, key, kind), tuple(shape)) for key, kind, shape in outputs}
    try:
        kind = metadata["ssm2edge.kind"]
        if kind not in ("offline", "stream"):
            raise ValueError(f"kind {kind!r}")
        block = int(metadata["ssm2edge.block"]) if kind == "stream" else None
        states = json.loads(metadata["ssm2edge.states"]) if kind == "stream" else []
        only = metadata.get("ssm2edge.length")
        longest = metadata.get("ssm2edge.longest", only)
        signature = Signature(
            kind=kind,
            block=block,
            inputs=tuple(_port(entry, given) for entry in json.loads(metadata["ssm2edge.inputs"])),
            outputs=tuple(_port(entry, taken) for entry in json.loads(metadata["ssm2edge.outputs"])),
            states=tuple(_state(entry, given, taken) for entry in states),
            frame=int(metadata.get("ssm2edge.frame" if kind == "stream" else "ssm2edge.multiple", "1")),
            shortest=int(metadata.get("ssm2edge.shortest", "1")),
            only=None if only is None else int(only),
            longest=None if longest is None else int(longest),
            layers=tuple(_layer(entry) for entry in json.loads(metadata.get("ssm2edge.layers", "[]"))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as fault:
        raise GraphError(f"{name} has metadata that this version cannot read ({fault}): build it again.") from fault
    _check(name, signature, set(given), set(taken))
    return signature


def _check(name: str, signature: Signature, given: set[str], taken: set[str]) -> None:
    inputs = [port.name for port in signature.inputs] + [state.input for state in signature.states]
    outputs = [port.name for port in signature.outputs] + [state.output for state in signature.states]
    for side, listed, declared in (("inputs", inputs, given), ("outputs", outputs, taken)):
        if len(listed) != len(set(listed)) or set(listed) != declared:
            raise GraphError(f"{name} has {side} {_listed(declared)}, but its metadata lists {_listed(listed)}: build it again.")
    timed = [port for port in signature.inputs if port.time_axis is not None]
    if not timed or not signature.outputs:
        raise GraphError(f"{name} has no input that runs along time, or no output: build it again.")
    if signature.frame < 1 or signature.shortest < 1 or (signature.block or 0) % signature.frame:
        raise GraphError(
            f"{name} has a frame of {signature.frame} samples, which its block or length cannot have: build it again."
        )
    if signature.longest is not None and signature.longest < max(1, signature.block or 1):
        raise GraphError(f"{name} takes no more than {signature.longest} samples, which fill no block: build it again.")
    if signature.kind == "stream":
        if signature.block is None or signature.block < 1:
            raise GraphError(f"{name} has a block of {signature.block} samples, which is less than one: build it again.")
        for port in timed:
            if port.shape[port.time_axis or 0] != signature.block:
                raise GraphError(f"{name} takes {port.name} as {port.shape}, which is not a block of {signature.block} samples.")
        for port in signature.inputs:
            if not all(isinstance(size, int) for size in port.shape[1:]):
                raise GraphError(f"{name} leaves axes of {port.name} open in a block ({port.shape}): build it again.")


def _port(entry: Mapping[str, Any], tensors: Mapping[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]]) -> Port:
    dtype, shape = tensors[entry["name"]]
    axis = entry["time_axis"]
    if entry.get("batch_axis", 0) != 0:
        raise ValueError(f"{entry['name']} has its batch on axis {entry['batch_axis']}, not 0")
    if axis is not None and not (type(axis) is int and 0 < axis < len(shape)):
        raise ValueError(f"{entry['name']} has time axis {axis} among {len(shape)} axes")
    rate = entry.get("rate")
    return Port(str(entry["name"]), shape, dtype, axis, None if rate is None else int(rate))


def _layer(entry: Mapping[str, Any]) -> LayerPort:
    source = entry.get("input")
    return LayerPort(str(entry["name"]), str(entry["value"]), None if source is None else str(source))


def _state(
    entry: Mapping[str, Any],
    given: Mapping[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]],
    taken: Mapping[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]],
) -> State:
    shape = tuple(int(size) for size in entry["shape"])
    dtype, before = given[entry["input"]]
    next_dtype, after = taken[entry["output"]]
    for declared in (before, after):
        # An output's symbols may be lost by shape inference; only a fixed axis can contradict the metadata.
        if len(declared) != len(shape) + 1 or any(
            isinstance(size, int) and size != wanted for size, wanted in zip(declared[1:], shape, strict=True)
        ):
            raise ValueError(f"state {entry['input']} is {declared} in the graph and {list(shape)} in the metadata")
    if dtype != next_dtype or min(shape, default=1) < 0:
        raise ValueError(f"state {entry['input']} is {dtype} and its successor {next_dtype}")
    return State(str(entry["input"]), str(entry["output"]), shape, float(entry["initial"]), dtype)


def _dtype(name: str, port: str, kind: str) -> np.dtype[Any]:
    if kind not in _DTYPES:
        raise GraphError(f"{name} has {port} of type {kind}, which this runtime does not carry: build it again.")
    return _DTYPES[kind]


def _array(name: str, value: Any) -> Array:
    """Return an array of what the caller gave; a tensor of torch may require gradients or lie on another device."""
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, whose mask no model reads: fill it first, {name}.filled(0).")
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        found: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as fault:
        said = str(fault).partition("\n")[0].rstrip(".")
        raise InputError(f"{name} is a {type(value).__name__} that is no array ({said}): give a plain one.") from fault
    return found


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
