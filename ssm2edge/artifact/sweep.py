"""The content of ``sweep.json``: every cell of a sweep, with its options, its verdict and its figures.

Each cell also has a file of its own beside its artifact, which a sweep that goes on reads.  Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.typed import AGAIN, parse, plain, typed

SWEEP_NAME = "sweep.json"
SWEEP_SCHEMA = 1
LARGEST = 256 << 20
"""Bytes of a file that is read."""


@dataclass(frozen=True)
class CellFigures:
    """Figures of an artifact, from its manifest.

    Attributes
    ----------
    metric
        ``accuracy`` or ``nrmse``, of the first output with labels; None without labels.
    original, artifact
        The metric before and after; None without labels.
    loss
        Points of accuracy, or hundredths of the NRMSE, that the worst output loses; None without labels.
    samples
        Held-out samples that judged; None without labels.
    error
        Output error relative to the original's outputs, root mean square over held-out samples.
    bytes
        Size of the largest graph.
    offline_bytes, stream_bytes
        Sizes of the graphs; None where the model cannot stream.
    weight_bytes
        Bytes of the numbers that the largest graph stores, the rest of it being the graph; None where they were not counted.
    original_bytes
        Size of the original's weights file; None where its weights are in none.
    latency
        Seconds of one whole sequence, one thread, while other cells were built.
    latency_ratio
        Relative to the original's in the same turns; None if that was not run.
    multiply_adds, stream_multiply_adds
        Of one call of the graphs.
    parameters, original_parameters
        Real parameters of the SSM layers, after and before.
    states
        Real states per system of the layer that kept the most.
    ram
        Of the stream as C, its stack included; None where there is no stream or no C form.
    flash
        Of the C form, where ``ssm2edge verify --target`` measured it: the smallest of its targets.
    """

    metric: str | None
    original: float | None
    artifact: float | None
    loss: float | None
    samples: int | None
    error: float | None
    bytes: int
    offline_bytes: int
    stream_bytes: int | None
    weight_bytes: int | None
    original_bytes: int | None
    latency: float | None
    latency_ratio: float | None
    multiply_adds: int | None
    stream_multiply_adds: int | None
    parameters: int
    original_parameters: int
    states: int
    ram: int | None = None
    flash: int | None = None


@dataclass(frozen=True)
class CellRecord:
    """One cell: a build of one source with one set of options.

    Attributes
    ----------
    name
        Name of its directory, unique in the sweep.
    key
        SHA-256 of all that its result depends on: the source's files, the options, this package and the versions it uses.
    source
        The model as the user gave it.
    model
        Short name of the source.
    options
        Options that differ from their defaults, build.toml's included.
    status
        ``done``, ``failed``, or ``open`` where a sweep ended before it.
    directory
        Of the artifact, relative to that of the sweep.
    error
        The sentence that the build ended with; None if it did not fail.
    seconds
        Duration of the build; None where it is not known.
    peak_bytes
        Largest resident memory of its process; None where the system does not say.
    figures
        Of the artifact; None without one.
    """

    name: str
    key: str
    source: str
    model: str
    options: Mapping[str, Any]
    status: str
    directory: str
    error: str | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    figures: CellFigures | None = None


@dataclass(frozen=True)
class ChoiceRecord:
    """The cell that ``ssm2edge sweep pick`` chose.

    Attributes
    ----------
    name
        Of the cell.
    limits
        Limits by name, as they were asked for.
    confidence
        Of the bound on the loss.
    compared
        Cells that samples were asked about.
    choosing, judging
        Samples that chose, and others that judged.
    loss, bound
        Loss on the samples that chose and its upper confidence bound, in points; None without a largest drop.
    judged
        Loss on the samples that judged, in points; None without labels.
    """

    name: str
    limits: Mapping[str, float]
    confidence: float
    compared: int
    choosing: int
    judging: int
    loss: float | None
    bound: float | None
    judged: float | None


@dataclass(frozen=True)
class SweepRecord:
    """The content of ``sweep.json``.

    Attributes
    ----------
    tool
        Versions.
    sources
        The models as the user gave them, and those of the cells of earlier sweeps.
    axes
        Options that were given last, with all their values.
    cells
        In the order in which they were asked for; those that earlier sweeps into the directory finished follow.
    chosen
        What was picked last; left out otherwise.
    schema
        Version of this layout.
    """

    tool: Mapping[str, str]
    sources: tuple[str, ...]
    axes: Mapping[str, Any]
    cells: tuple[CellRecord, ...]
    chosen: ChoiceRecord | None = field(default=None, metadata={"optional": True})
    schema: int = SWEEP_SCHEMA


def write_record(path: Path, record: SweepRecord | CellRecord) -> None:
    """Write a record as JSON, that of a cell in one line; a reader never sees half a file.

    Raises
    ------
    ArtifactError
        If it cannot be written.
    """
    indent = 1 if isinstance(record, SweepRecord) else None
    text = json.dumps(plain(record), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    publish_text(path, text)


def publish_text(path: Path, text: str) -> None:
    """Write a file by one rename.

    Raises
    ------
    ArtifactError
        If it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as fault:
        beside.unlink(missing_ok=True)
        raise ArtifactError(f"{path} cannot be written ({fault.strerror}): free space, or choose another place.") from fault


def read_cell(path: Path) -> CellRecord | None:
    """Return the record of a cell; None if there is none, or a damaged one: then the cell has not been built."""
    try:
        record = typed(CellRecord, parse(path.read_bytes(), path.name), path.name)
    except (OSError, ArtifactError):
        return None
    assert isinstance(record, CellRecord)
    return record


def read_sweep(directory: Path) -> SweepRecord:
    """Read ``sweep.json``.

    Raises
    ------
    ArtifactError
        If it cannot be read, or differs from this layout.
    """
    path = directory / SWEEP_NAME
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as fault:
        raise ArtifactError(f"{path} cannot be read ({fault.strerror}): give the directory of a sweep.") from fault
    try:
        return _sweep(content[:LARGEST], path)
    except ArtifactError as fault:
        raise ArtifactError(str(fault).replace(AGAIN, "run the sweep again")) from fault


def _sweep(content: bytes, path: Path) -> SweepRecord:
    value = parse(content, str(path))
    if not isinstance(value, dict) or value.get("schema") != SWEEP_SCHEMA or isinstance(value["schema"], bool):
        raise ArtifactError(f"{path} is not of schema {SWEEP_SCHEMA}, which this version of ssm2edge reads: {AGAIN}.")
    record = typed(SweepRecord, value, SWEEP_NAME)
    assert isinstance(record, SweepRecord)
    return record
