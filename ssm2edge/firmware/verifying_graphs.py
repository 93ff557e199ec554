"""The device graphs of an artifact against its own graphs: references and probes, every sequence alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from ssm2edge.artifact import Artifact, DeviceGraphRecord
from ssm2edge.firmware.device_answers import sequences_of, streamed_error, whole_error
from ssm2edge.firmware.driver import Array
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.onnx_package import LIMIT, NAME, OFFLINE, PORTS, device_files, offline_files, sources
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
        If the folder holds no device graphs of this artifact.
    """
    report = progress or (lambda name: None)
    contents, length = _made(artifact) if folder is None else _read(artifact, folder)
    groups = {"references": artifact.reference} | ({} if artifact.probes is None else {"probes": artifact.probes})
    checks, records = list[Check](), dict[str, DeviceGraphRecord]()
    for name, content in contents.items():
        made_from = "stream.onnx" if name == NAME else "offline.onnx"
        worst, samples = 0.0, 0
        for group, pack in groups.items():
            report(f"{name}: {group}")
            inputs, count = sequences_of(artifact, pack.inputs, None if name == NAME else length)
            error = _error(artifact, name, content, inputs)
            rows = len(next(iter(inputs.values())))
            detail = f"{rows} sequences of {count:,} samples, against {made_from} in onnxruntime"
            checks.append(within(f"{name.removesuffix('.onnx')}.{group}", error, LIMIT, detail))
            worst, samples = max(worst, error), samples + rows * count
        digest = hashlib.sha256(content).hexdigest()
        source = artifact.manifest.files[made_from].sha256
        whole = None if name == NAME else length
        records[name] = DeviceGraphRecord(worst, samples, whole, digest, source, onnxruntime.__version__)
    return GraphsVerdict(Verdict(tuple(checks)), records)


def _error(artifact: Artifact, name: str, content: bytes, inputs: Mapping[str, Array]) -> float:
    if name == OFFLINE:
        return whole_error(artifact.offline, content, inputs)
    assert artifact.stream is not None
    return streamed_error(artifact.stream, content, inputs)


def _made(artifact: Artifact) -> tuple[dict[str, bytes], int]:
    whole, length, _ = offline_files(artifact)
    streaming = {} if artifact.stream is None else {NAME: device_files(artifact)[0].graph}
    return {**streaming, OFFLINE: whole.graph}, length


def _read(artifact: Artifact, folder: Path) -> tuple[dict[str, bytes], int]:
    try:
        described: Mapping[str, Any] = json.loads((folder / PORTS).read_bytes())
        length, made_from = int(described["offline"]["length"]), described["made_from"]
        contents = {name: (folder / name).read_bytes() for name in (NAME, OFFLINE) if name == OFFLINE or artifact.stream}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        reason = f"{type(fault).__name__}: {fault}"
        raise FirmwareError(f"{folder} holds no device graphs ({reason}): write them with package --target onnx.") from fault
    if made_from != sources(artifact):
        raise FirmwareError(f"{folder} was made from other graphs than those of {artifact.directory}: write it again.")
    return contents, length
