"""One held-out sequence with its answers, as JavaScript reads it: the test of a folder, and what its page shows at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssm2edge.artifact import Artifact
from ssm2edge.runtime import Model, Stream
from ssm2edge.runtime.ports import Array, Port

MOST = 20_000
"""Numbers of an input."""


def example(artifact: Artifact) -> dict[str, Any] | None:
    """Return inputs and onnxruntime's answers, each a list of numbers in the order of its shape; None if one is not finite."""
    first = {name: value[:1] for name, value in artifact.reference.inputs.items()}
    with Model(artifact.offline, checks=False) as model:
        inputs, multiple, shortest, only = model.inputs, model.multiple, model.shortest, model.length
        if artifact.stream is None:
            taken = _cut(first, inputs, multiple, shortest, only)
            outputs = model.run(taken)
    if artifact.stream is not None:
        with Stream(artifact.stream, checks=False) as stream:
            taken = _cut(first, inputs, stream.block, shortest, only)
            outputs = stream.push(taken)
    if not all(np.isfinite(value).all() for value in (*taken.values(), *outputs.values())):
        return None
    return {"inputs": _listed(taken), "outputs": _listed(outputs)}


def _cut(given: Mapping[str, Array], ports: tuple[Port, ...], multiple: int, shortest: int, only: int | None) -> dict[str, Array]:
    timed = [port for port in ports if port.time_axis is not None]
    length = min(given[port.name].shape[port.time_axis or 0] for port in timed)
    if only is None:
        width = max(given[port.name].size // given[port.name].shape[port.time_axis or 0] for port in timed)
        length = max(min(length, MOST // width) // multiple * multiple, -(-shortest // multiple) * multiple)
    return {p.name: given[p.name] if p.time_axis is None else given[p.name][p.along_time(0, length)] for p in ports}


def _listed(arrays: Mapping[str, Array]) -> dict[str, list[float | int]]:
    return {name: [_number(value) for value in array.ravel()] for name, array in arrays.items()}


def _number(value: Any) -> float | int:
    # A float32's own text has the shortest digits that give it back.
    return float(str(value)) if isinstance(value, np.floating) else int(value)
