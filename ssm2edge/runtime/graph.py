"""Opening a graph file: its bytes are read once, so that the hashed bytes are those that run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from ssm2edge.runtime.errors import GraphError
from ssm2edge.runtime.exposing import expose
from ssm2edge.runtime.ports import Signature, read_signature

LARGEST_FILE = 2 << 30
"""Bytes; onnx itself cannot hold more in one file."""
LARGEST_MANIFEST = 16 << 20
"""Bytes of a manifest that are read; a longer file is no manifest."""


@dataclass(frozen=True)
class Settings:
    """Settings of onnxruntime; none is left to a default that differs between versions.

    Attributes
    ----------
    threads
        Threads within an operator. One is fastest for single streams.
    flush_subnormals
        Ask the processor to treat subnormal numbers as zero. Off, because the graphs keep their states out of that range by
        themselves, because onnxruntime obeys only the first session of a process, and because it would change the
        arithmetic of the calling thread for everything else in the process.
    """

    threads: int = 1
    flush_subnormals: bool = False

    def options(self) -> onnxruntime.SessionOptions:
        """The same as onnxruntime's own value."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Faults are raised; onnxruntime would also write them to stderr.
        options.log_severity_level = 4
        options.add_session_config_entry("session.set_denormal_as_zero", "1" if self.flush_subnormals else "0")
        return options


@dataclass(frozen=True, eq=False)
class Graph:
    """An opened graph.

    Attributes
    ----------
    path
        File it was read from.
    sha256
        Hash of the file's bytes, hexadecimal.
    signature
        Its inputs, outputs and states.
    session
        The onnxruntime session.
    """

    path: Path
    sha256: str
    signature: Signature
    session: onnxruntime.InferenceSession


def open_graph(path: str | os.PathLike[str], kind: str, settings: Settings, exposed: Sequence[str] = ()) -> Graph:
    """Read, hash and load one graph.

    Parameters
    ----------
    path
        An ONNX file, or a build directory, of which ``<kind>.onnx`` is taken and compared with the manifest's SHA-256.
    kind
        ``"offline"`` or ``"stream"``.
    settings
        Threads and arithmetic.
    exposed
        Inner values that become outputs of the session, after its own.

    Raises
    ------
    GraphError
        If there is no such file, if it is damaged or foreign, or of the other kind.
    """
    given = Path(path)
    file = given / f"{kind}.onnx" if given.is_dir() else given
    try:
        content = read_graph(file)
    except OSError as fault:
        raise GraphError(_unreadable(given, file, kind, fault)) from fault
    sha256 = hashlib.sha256(content).hexdigest()
    if given.is_dir():
        expected = _expected_sha256(given, file.name)
        if sha256 != expected:
            raise GraphError(f"{file} is not the file that was built: its SHA-256 differs from the manifest's; copy it again.")
    try:
        session = new_session(expose(content, exposed), settings)
        metadata = session.get_modelmeta().custom_metadata_map
        inputs = [(value.name, value.type, value.shape) for value in session.get_inputs()]
        outputs = [(value.name, value.type, value.shape) for value in session.get_outputs() if value.name not in exposed]
    except Exception as fault:  # onnxruntime's exceptions share no base class of their own
        raise GraphError(unloadable(file, fault)) from fault
    signature = read_signature(str(file), metadata, inputs, outputs)
    if signature.kind != kind:
        wanted = "whole sequences" if kind == "offline" else "streaming"
        raise GraphError(f"{file} is a graph of kind {signature.kind}, not one for {wanted}: give {kind}.onnx.")
    return Graph(file, sha256, signature, session)


def read_graph(file: Path) -> bytes:
    """Return the bytes of a graph file; raise GraphError if it is no plain file, or too large."""
    if file.exists() and not file.is_file():
        raise GraphError(f"{file} cannot be read (it is not a plain file).")
    size = file.stat().st_size
    if size > LARGEST_FILE:
        raise GraphError(f"{file} has {size} bytes, more than the {LARGEST_FILE} that an ONNX file can have.")
    return file.read_bytes()


def new_session(content: bytes, settings: Settings) -> onnxruntime.InferenceSession:
    """Load a graph from its bytes."""
    return onnxruntime.InferenceSession(content, settings.options(), providers=["CPUExecutionProvider"])


def unloadable(file: Path, fault: Exception) -> str:
    """Return the sentence for a graph that onnxruntime refuses."""
    return f"onnxruntime {onnxruntime.__version__} cannot load {file}: {' '.join(str(fault).split())[:200]}"


def _unreadable(given: Path, file: Path, kind: str, fault: OSError) -> str:
    if given.is_dir() and not file.exists():
        manifest = _manifest(given)
        reason = (manifest.get("streaming") or {}).get("reason") if kind == "stream" else None
        return f"{given} has no {file.name}" + (f": {reason}" if reason else "; is it a build directory?")
    return f"{file} cannot be read ({fault.strerror or fault})."


def _manifest(directory: Path) -> dict[str, Any]:
    file = directory / "manifest.json"
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream:
            manifest = json.loads(stream.read(LARGEST_MANIFEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _expected_sha256(directory: Path, name: str) -> str:
    try:
        return str(_manifest(directory)["files"][name]["sha256"])
    except (KeyError, TypeError) as fault:
        raise GraphError(f"{directory} has no readable manifest.json that lists {name}: is it a build directory?") from fault
