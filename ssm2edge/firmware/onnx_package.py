"""The folder of the device graphs: graphs for other runtimes than onnxruntime, their ports, and a page that shows their use."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.comparing import blocks_of, largest_error, run_stream
from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.firmware.driver import Array
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import filled
from ssm2edge.runtime import Model, Stream

NAME, OFFLINE, PORTS = "stream.device.onnx", "offline.device.onnx", "ports.json"
ROWS = 4
"""Held-out sequences on which the device graphs are compared."""
LIMIT = 1e-4
"""Largest difference from the graph for onnxruntime, relative to the largest magnitude of an output."""


def package_onnx(
    artifact: Artifact, out: str | os.PathLike[str], force: bool = False, length: int | None = None
) -> dict[str, float]:
    """Write the folder of an artifact's device graphs, whole or not at all.

    Parameters
    ----------
    artifact
        The artifact.
    out
        Folder to make.
    force
        Replace a folder that holds nothing but such files.
    length
        Samples of a whole sequence; those of the held-out sequences unless given.

    Returns
    -------
    dict
        By file, the largest difference from the graph for onnxruntime on held-out sequences, relative to the largest magnitude of
        an output.

    Raises
    ------
    FirmwareError
        If a device graph gives other answers, or the folder is taken or cannot be written.
    InputError
        If the model does not take sequences of this length.
    """
    files, errors = dict[str, str | bytes](), dict[str, float]()
    described: dict[str, Any] = {"schema": 1}
    if artifact.stream is not None:
        streaming, errors[NAME] = device_files(artifact)
        files[NAME] = streaming.graph
        described |= streaming.ports
    whole, samples, errors[OFFLINE] = offline_files(artifact, length)
    files[OFFLINE] = whole.graph
    described["offline"] = {
        "graph": OFFLINE,
        "length": samples,
        "inputs": whole.ports["inputs"],
        "outputs": whole.ports["outputs"],
    }
    page = filled(
        "device.md",
        graph=NAME,
        version=artifact.manifest.tool.get("ssm2edge", ""),
        length=f"{samples:,}",
        error=f"{max(errors.values()):.0e}",
        streaming="" if NAME in errors else "\nThis model does not stream: there is no `stream.device.onnx`.\n",
    )
    publish(Path(out), {**files, PORTS: json.dumps(described, indent=2) + "\n", "README.md": page}, force)
    return errors


@dataclass(frozen=True)
class DeviceFiles:
    """A device graph and its ports.

    Attributes
    ----------
    graph
        Bytes of the ONNX file.
    ports
        Names, shapes, types, axes of time and states.
    """

    graph: bytes
    ports: Mapping[str, Any]

    @property
    def ports_json(self) -> str:
        """The ports as text."""
        return json.dumps(self.ports, indent=2) + "\n"


def device_files(artifact: Artifact) -> tuple[DeviceFiles, float]:
    """Return the device graph of an artifact, and its largest difference from stream.onnx as `package_onnx` does.

    Raises
    ------
    FirmwareError
        If the model does not stream, or the device graph gives other answers.
    """
    if artifact.stream is None:
        raise FirmwareError(
            f"{artifact.directory} does not stream, so there is no device graph: {artifact.manifest.streaming.reason}"
        )
    model = device_graph(artifact.stream, _more(artifact))
    content = model.SerializeToString()
    error = _streamed(artifact, artifact.stream, content)
    _refuse(artifact, NAME, error)
    return DeviceFiles(content, ports(model)), error


def offline_files(artifact: Artifact, length: int | None = None) -> tuple[DeviceFiles, int, float]:
    """Return the device graph of whole sequences, their samples, and its largest difference from offline.onnx.

    Raises
    ------
    FirmwareError
        If the device graph gives other answers.
    InputError
        If the model does not take sequences of this length.
    """
    inputs, samples = _sequences(artifact, length)
    with Model(artifact.offline) as offline:
        expected = offline.run(inputs)
    model = device_graph(artifact.offline, _more(artifact), samples)
    content = model.SerializeToString()
    error = _whole(inputs, expected, content)
    _refuse(artifact, OFFLINE, error)
    return DeviceFiles(content, ports(model)), samples, error


def _more(artifact: Artifact) -> dict[str, Any]:
    task = artifact.manifest.task or {}
    return {key: task[key] for key in ("classes", "front_end") if task.get(key)}


def _refuse(artifact: Artifact, name: str, error: float) -> None:
    if error > LIMIT:
        raise FirmwareError(f"{name} of {artifact.directory} differs by {error:.1e} from its original; nothing was written.")


def _sequences(artifact: Artifact, length: int | None) -> tuple[dict[str, Array], int]:
    """Return held-out sequences by input, cut to a length or filled with zeros, and their samples."""
    if length is not None and length < 1:
        raise FirmwareError(f"A whole sequence cannot have {length} samples: give at least 1.")
    with Model(artifact.offline) as model:
        axes = {port.name: port.time_axis for port in model.inputs}
    found, samples = dict[str, Array](), 0
    for name, value in artifact.reference.inputs.items():
        rows, axis = value[:ROWS], axes[name]
        if axis is not None:
            samples = length or rows.shape[axis]
            missing = max(0, samples - rows.shape[axis])
            filled_up = np.pad(rows, [(0, missing if place == axis else 0) for place in range(rows.ndim)])
            rows = filled_up.take(range(samples), axis=axis)
        found[name] = rows
    return found, samples


def _whole(inputs: Mapping[str, Array], expected: Mapping[str, Array], content: bytes) -> float:
    """Return the error of whole sequences, one by one."""
    count = len(next(iter(inputs.values())))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / OFFLINE
        file.write_bytes(content)
        with Model(file) as model:
            names = dict(zip((port.name for port in model.outputs), expected, strict=True))
            given = dict(zip((port.name for port in model.inputs), inputs.values(), strict=True))
            rows = [model.run({name: value[row : row + 1] for name, value in given.items()}) for row in range(count)]
    found = [{names[name]: value for name, value in row.items()} for row in rows]
    return largest_error(found, [{name: value[row : row + 1] for name, value in expected.items()} for row in range(count)])


def _streamed(artifact: Artifact, stream: Path, content: bytes) -> float:
    """Return the error of streams, block by block."""
    inputs = artifact.reference.inputs
    with Stream(stream) as opened:
        taken, block = opened.inputs, opened.block
    count = min(ROWS, len(next(iter(inputs.values()))))
    sequences = [blocks_of({k: v[row : row + 1] for k, v in inputs.items()}, taken, block) for row in range(count)]
    expected = run_stream(stream, sequences)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NAME
        file.write_bytes(content)
        with Stream(file) as opened:
            renamed = dict(zip((port.name for port in taken), (port.name for port in opened.inputs), strict=True))
            outputs = [port.name for port in opened.outputs]
        found = run_stream(file, [{renamed[name]: value for name, value in one.items()} for one in sequences])
    names = dict(zip(outputs, expected[0], strict=True))
    return largest_error([{names[name]: value for name, value in one.items()} for one in found], expected)
