"""The folder of the device graphs: graphs for other runtimes than onnxruntime, their ports, and a page that shows their use."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.device_answers import sequences_of, streamed_error, whole_error
from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.firmware.driver import Array
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import filled

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
    streaming = None
    if artifact.stream is not None:
        streaming, errors[NAME] = device_files(artifact)
        files[NAME] = streaming.graph
    whole, samples, errors[OFFLINE] = offline_files(artifact, length)
    files[OFFLINE] = whole.graph
    described = all_ports(artifact, None if streaming is None else streaming.ports, whole.ports, samples)
    page = filled(
        "device.md",
        graph=NAME,
        version=artifact.manifest.tool.get("ssm2edge", ""),
        length=f"{samples:,}",
        error=f"{max(errors.values()):.0e}",
        streaming="" if NAME in errors else "\nThis model does not stream: there is no `stream.device.onnx`.\n",
    )
    publish(Path(out), {**files, PORTS: as_text(described), "README.md": page}, force)
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
        return as_text(self.ports)


def all_ports(artifact: Artifact, streaming: Mapping[str, Any] | None, whole: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """Return the content of ports.json.

    Parameters
    ----------
    artifact
        The artifact.
    streaming, whole
        Ports of the two device graphs; None for a model that does not stream.
    samples
        Of a whole sequence.
    """
    offline = {"graph": OFFLINE, "length": samples, "inputs": whole["inputs"], "outputs": whole["outputs"]}
    return {"schema": 1, "made_from": sources(artifact), **(streaming or {}), "offline": offline}


def as_text(described: Mapping[str, Any]) -> str:
    """Return the text of ports.json."""
    return json.dumps(described, indent=2) + "\n"


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
    inputs = {name: value[:ROWS] for name, value in artifact.reference.inputs.items()}
    error = streamed_error(artifact.stream, content, inputs)
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
    model = device_graph(artifact.offline, _more(artifact), samples)
    content = model.SerializeToString()
    error = whole_error(artifact.offline, content, inputs)
    _refuse(artifact, OFFLINE, error)
    return DeviceFiles(content, ports(model)), samples, error


def sources(artifact: Artifact) -> dict[str, str]:
    """Return the SHA-256 of the graphs that device graphs are made from, by file."""
    return {name: record.sha256 for name, record in artifact.manifest.files.items() if name in ("stream.onnx", "offline.onnx")}


def _more(artifact: Artifact) -> dict[str, Any]:
    task = artifact.manifest.task or {}
    return {key: task[key] for key in ("classes", "front_end") if task.get(key)}


def _refuse(artifact: Artifact, name: str, error: float) -> None:
    if error > LIMIT:
        raise FirmwareError(f"{name} of {artifact.directory} differs by {error:.1e} from its original; nothing was written.")


def _sequences(artifact: Artifact, length: int | None) -> tuple[dict[str, Array], int]:
    """Return the first held-out sequences as a device graph of a length takes them, and the length."""
    if length is not None and length < 1:
        raise FirmwareError(f"A whole sequence cannot have {length} samples: give at least 1.")
    inputs = {name: value[:ROWS] for name, value in artifact.reference.inputs.items()}
    return sequences_of(artifact, inputs, length)
