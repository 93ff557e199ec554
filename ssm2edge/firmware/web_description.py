"""All that JavaScript has to know of an artifact: its ports, lengths, classes and front end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssm2edge.artifact import Artifact
from ssm2edge.audio.recordings import FrontEnd
from ssm2edge.runtime import Model, Port
from ssm2edge.runtime.ports import Signature

Described = dict[str, Any]


def describe(artifact: Artifact, name: str, signature: Signature | None, device: Mapping[str, Any] | None) -> Described:
    """Return the description of an artifact, but for the names of files.

    Parameters
    ----------
    artifact
        The artifact.
    name
        Of the model.
    signature
        Of its streaming graph; None if it does not stream.
    device
        The ports of its device graph, all of whose sizes are known.
    """
    task, files = artifact.manifest.task or {}, artifact.manifest.files
    return {
        "name": name,
        "version": artifact.manifest.tool.get("ssm2edge", ""),
        "sha256": files["stream.onnx" if signature else "offline.onnx"].sha256,
        "metric": task.get("metric"),
        "classes": list(task.get("classes", ())),
        "frontEnd": _front_end(FrontEnd.of(task)),
        "stream": None if signature is None or device is None else describe_stream(signature, device),
        "offline": _offline(artifact),
    }


def _front_end(front_end: FrontEnd | None) -> Described | None:
    if front_end is None:
        return None
    frames = front_end.frames
    return {
        "sampleRate": frames.sample_rate,
        "window": frames.window,
        "hop": frames.hop,
        "mels": frames.mels,
        "floor": frames.floor,
        "span": front_end.span,
    }


def describe_stream(signature: Signature, device: Mapping[str, Any]) -> Described:
    """Return the description of a streaming graph."""
    # The states lie at the front of what a stream holds in WebAssembly.
    front = itertools.takewhile(lambda state: state.dtype == np.float32, signature.states)
    return {
        "floats": sum(math.prod(state.shape) for state in front),
        "block": signature.block,
        "frame": signature.frame,
        "length": signature.only,
        "longest": signature.longest,
        "inputs": [_port(port, entry["shape"]) for port, entry in zip(signature.inputs, device["inputs"], strict=True)],
        "outputs": [_port(port, entry["shape"]) for port, entry in zip(signature.outputs, device["outputs"], strict=True)],
    }


def _offline(artifact: Artifact) -> Described:
    with Model(artifact.offline) as model:
        return {
            "multiple": model.multiple,
            "shortest": model.shortest,
            "length": model.length,
            "longest": model.longest,
            "inputs": [_port(port, port.shape) for port in model.inputs],
            "outputs": [_port(port, port.shape) for port in model.outputs],
        }


def _port(port: Port, shape: Sequence[int | str | None]) -> Described:
    """Return a port without the axis of the batch."""
    return {
        "name": port.name,
        "shape": [size if isinstance(size, int) else None for size in shape[1:]],
        "dtype": port.dtype.name,
        "timeAxis": None if port.time_axis is None else port.time_axis - 1,
        "rate": port.rate,
    }
