"""The folder of the device graph: the graph for other runtimes than onnxruntime, its ports, and a page that shows their use."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.comparing import blocks_of, largest_error, run_stream
from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import filled
from ssm2edge.runtime import Stream

NAME, PORTS = "stream.device.onnx", "ports.json"
ROWS = 4
"""Held-out sequences on which the device graph is compared."""
LIMIT = 1e-4
"""Largest difference from stream.onnx, relative to the largest magnitude of an output."""


def package_onnx(artifact: Artifact, out: str | os.PathLike[str], force: bool = False) -> float:
    """Write the folder of an artifact's device graph, whole or not at all.

    Returns
    -------
    float
        Largest difference from stream.onnx on held-out sequences, relative to the largest magnitude of an output.

    Raises
    ------
    FirmwareError
        If the model does not stream, the device graph gives other answers, or the folder is taken or cannot be written.
    """
    files, error = device_files(artifact)
    page = filled("device.md", graph=NAME, version=artifact.manifest.tool.get("ssm2edge", ""), error=f"{error:.0e}")
    publish(Path(out), {NAME: files.graph, PORTS: files.ports_json, "README.md": page}, force)
    return error


@dataclass(frozen=True)
class DeviceFiles:
    """The device graph and its ports.

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
    task = artifact.manifest.task or {}
    more = {key: task[key] for key in ("classes", "front_end") if task.get(key)}
    model = device_graph(artifact.stream, more)
    content = model.SerializeToString()
    error = _compared(artifact, artifact.stream, content)
    if error > LIMIT:
        raise FirmwareError(
            f"The device graph of {artifact.directory} differs by {error:.1e} from stream.onnx; nothing was written."
        )
    return DeviceFiles(content, ports(model)), error


def _compared(artifact: Artifact, stream: Path, content: bytes) -> float:
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
