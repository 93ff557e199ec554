"""Limits of the difference between an artifact and its baseline, read from a TOML file.

::

    [increase]              # percent over the baseline; false: not compared
    nodes = 0
    multiply_adds = 0
    bytes = 1
    parameters = 0
    orders = 0
    error = 1

    [drop]
    points = 0.1            # hundredths of accuracy, or of fit; false: not compared

    [latency]
    threshold = 5           # percent; false: not compared
    other_machine = 25      # the same, where the baseline is a manifest
    confidence = 0.95       # that no latency verdict of a run errs
    sessions = [10, 16, 26, 42]
    graphs = ["offline", "stream"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssm2edge.errors import UserError

COUNTED = ("nodes", "multiply_adds", "bytes", "parameters", "orders", "error")
GRAPHS = ("offline", "stream")

_INCREASE: Mapping[str, float | None] = {
    "nodes": 0.0,
    "multiply_adds": 0.0,
    "bytes": 1.0,
    "parameters": 0.0,
    "orders": 0.0,
    "error": 1.0,
}


@dataclass(frozen=True)
class Policy:
    """Limits of the gate.

    Attributes
    ----------
    increase
        By figure: the largest increase in percent; None for figures that are not compared.
    points
        Largest drop of accuracy or fit in points (hundredths), beyond one sample's rounding; None for any.
    threshold, other_machine
        Largest increase of a latency in percent, against an artifact and against a manifest; None for any.
    confidence
        Probability that no latency verdict of a run errs.
    sessions
        Pairs of sessions after which the latencies are compared.
    graphs
        Graphs whose latency is compared.
    """

    increase: Mapping[str, float | None] = field(default_factory=lambda: _INCREASE)
    points: float | None = 0.1
    threshold: float | None = 5.0
    other_machine: float | None = 25.0
    confidence: float = 0.95
    sessions: tuple[int, ...] = (10, 16, 26, 42)
    graphs: tuple[str, ...] = GRAPHS


def read_policy(path: Path) -> Policy:
    """Read a policy; absent keys keep their defaults.

    Raises
    ------
    UserError
        If the file cannot be read, has an unknown key, or a value that is no limit.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise UserError(f"The policy {path} cannot be read ({fault}).") from fault
    known = {
        "increase": set(COUNTED),
        "drop": {"points"},
        "latency": {"threshold", "other_machine", "confidence", "sessions", "graphs"},
    }
    for section, entries in content.items():
        if section not in known or not isinstance(entries, dict):
            raise UserError(f"The policy {path} has the unknown section [{section}]; known are {', '.join(known)}.")
        for key in entries:
            if key not in known[section]:
                raise UserError(f"The policy {path} has the unknown key {section}.{key}; known are {', '.join(known[section])}.")
    increase, drop, latency = (content.get(section, {}) for section in ("increase", "drop", "latency"))
    standard = Policy()
    return Policy(
        increase={**_INCREASE, **{key: _limit(path, f"increase.{key}", value) for key, value in increase.items()}},
        points=_limit(path, "drop.points", drop.get("points", standard.points)),
        threshold=_limit(path, "latency.threshold", latency.get("threshold", standard.threshold)),
        other_machine=_limit(path, "latency.other_machine", latency.get("other_machine", standard.other_machine)),
        confidence=_confidence(path, latency.get("confidence", standard.confidence)),
        sessions=_sessions(path, latency.get("sessions", list(standard.sessions))),
        graphs=_graphs(path, latency.get("graphs", list(standard.graphs))),
    )


def _limit(path: Path, key: str, value: Any) -> float | None:
    if value is False:
        return None
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise UserError(f"The policy {path} gives {key} as {value!r}; it must be a number, at least 0, or false.")
    return float(value)


def _confidence(path: Path, value: Any) -> float:
    if type(value) not in (int, float) or not 0.5 <= value <= 0.999:
        raise UserError(f"The policy {path} gives latency.confidence as {value!r}; it must lie between 0.5 and 0.999.")
    return float(value)


def _sessions(path: Path, value: Any) -> tuple[int, ...]:
    counts = value if isinstance(value, list) else []
    if not counts or any(type(count) is not int or not 4 <= count <= 1000 for count in counts) or sorted(set(counts)) != counts:
        raise UserError(f"The policy {path} gives latency.sessions as {value!r}; it must be a list of growing counts from 4 on.")
    return tuple(counts)


def _graphs(path: Path, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(graph not in GRAPHS for graph in value):
        raise UserError(f"The policy {path} gives latency.graphs as {value!r}; it must be a list of {' and '.join(GRAPHS)}.")
    return tuple(dict.fromkeys(value))
