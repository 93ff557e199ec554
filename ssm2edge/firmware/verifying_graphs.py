"""The device graphs of an artifact against its own graphs: references and probes, every sequence alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from ssm2edge.artifact import Artifact, DeviceGraphRecord
from ssm2edge.firmware.device_answers import sequences_of, streamed_error, whole_error
from ssm2edge.firmware.device_graph import ports
from ssm2edge.firmware.driver import Array
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.onnx_package import LIMIT, NAME, OFFLINE, PORTS, all_ports, as_text, device_files, offline_files, sources
from ssm2edge.verification import Check, Verdict
from ssm2edge.verification.check import within


@dataclass(frozen=True)
class GraphsVerdict:
    """Checks of the device graphs, and what the manifest records of them."""

    verdict: Verdict
    records: Mapping[str, DeviceGraphRecord]


def verify_graphs(artifact: Artifact, folder: Path | None = None, progress: Callable[[str], None] | None = None) -> GraphsVerdict:
    """Run the device graphs of an artifact on its references and probes, and compare them with its own graphs.

    Parameters
    ----------
    artifact
        The artifact.
    folder
        A folder that `package_onnx` made, whose graphs are run; None to make them anew.
    progress
        Called with the name of each part.

    Raises
    ------
    FirmwareError
        If the folder holds no device graphs of this artifact, or its ports.json describes others.
    """
    report = progress or (lambda name: None)
    graphs = _made(artifact) if folder is None else _read(artifact, folder)
    length = graphs.length
    groups = {"references": artifact.reference} | ({} if artifact.probes is None else {"probes": artifact.probes})
    checks, records = list[Check](), dict[str, DeviceGraphRecord]()
    for name, content in graphs.contents.items():
        made_from = "stream.onnx" if name == NAME else "offline.onnx"
        worst, samples = 0.0, 0
        for group, pack in groups.items():
            report(f"{name}: {group}")
            inputs, count = sequences_of(artifact, pack.inputs, None if name == NAME else length)
            error = _error(artifact, name, content, inputs, folder)
            rows = len(next(iter(inputs.values())))
            detail = f"{rows} sequences of {count:,} samples, against {made_from} in onnxruntime"
            checks.append(within(f"{name.removesuffix('.onnx')}.{group}", error, LIMIT, detail))
            worst, samples = max(worst, error), samples + rows * count
        digest = hashlib.sha256(content).hexdigest()
        source = artifact.manifest.files[made_from].sha256
        whole = None if name == NAME else length
        records[name] = DeviceGraphRecord(worst, samples, whole, digest, source, onnxruntime.__version__, graphs.ports)
    return GraphsVerdict(Verdict(tuple(checks)), records)


@dataclass(frozen=True)
class _Graphs:
    """Device graphs by file, the samples of a whole sequence, and the SHA-256 of their ports.json."""

    contents: Mapping[str, bytes]
    length: int
    ports: str


def _error(artifact: Artifact, name: str, content: bytes, inputs: Mapping[str, Array], folder: Path | None) -> float:
    place = None if folder is None else folder / name
    if name == OFFLINE:
        return whole_error(artifact.offline, content, inputs, place)
    assert artifact.stream is not None
    return streamed_error(artifact.stream, content, inputs, place)


def _made(artifact: Artifact) -> _Graphs:
    whole, length, _ = offline_files(artifact)
    streaming = None if artifact.stream is None else device_files(artifact)[0]
    text = as_text(all_ports(artifact, None if streaming is None else streaming.ports, whole.ports, length))
    graphs = {} if streaming is None else {NAME: streaming.graph}
    return _Graphs({**graphs, OFFLINE: whole.graph}, length, hashlib.sha256(text.encode()).hexdigest())


def _read(artifact: Artifact, folder: Path) -> _Graphs:
    names = [PORTS, *([NAME] if artifact.stream else []), OFFLINE]
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None:
        raise FirmwareError(f"{folder} has no {missing}: write the device graphs with package --target onnx.")
    try:
        text, *graphs = ((folder / name).read_bytes() for name in names)
        described = json.loads(text)
        length, made_from = int(described["offline"]["length"]), described["made_from"]
    except OSError as fault:
        raise FirmwareError(f"{folder} cannot be read ({fault.strerror or fault}).") from fault
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise FirmwareError(f"{folder / PORTS} is damaged: write the device graphs again with package --target onnx.") from fault
    if made_from != sources(artifact):
        raise FirmwareError(f"{folder} was made from other graphs than those of {artifact.directory}: write it again.")
    contents = dict(zip(names[1:], graphs, strict=True))
    told = {name: _ports(folder / name, content) for name, content in contents.items()}
    expected = all_ports(artifact, told.get(NAME), told[OFFLINE], length)
    wrong = next((key for key in {**expected, **described} if described.get(key) != expected.get(key)), None)
    if wrong is not None:
        raise FirmwareError(
            f"{folder / PORTS} says other {wrong} than the device graphs beside it: write them again with package --target onnx."
        )
    return _Graphs(contents, length, hashlib.sha256(text).hexdigest())


def _ports(file: Path, content: bytes) -> Mapping[str, Any]:
    """Return the ports that a device graph itself declares."""
    try:
        return ports(onnx.load_from_string(content))
    except Exception as fault:  # protobuf's exceptions share no base class of their own
        raise FirmwareError(f"{file} is damaged: write the device graphs again with package --target onnx.") from fault
