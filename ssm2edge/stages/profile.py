"""Where the time of a graph goes: onnxruntime's own profile, by kind of node and by layer."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ssm2edge.artifact import Profile, Share, StateRecord
from ssm2edge.errors import UserError

CALLS, WARMUP = 21, 3
TOGETHER = "*"
"""In place of a layer's name: nodes that compute for several reduced layers at once."""


def profile_graphs(
    folder: Path,
    layers: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    time_axis: int,
    block: int | None,
    states: Sequence[StateRecord],
) -> tuple[Profile, ...]:
    """Profile the graphs of a folder on one sequence, and on its first block where there is a streaming graph.

    Parameters
    ----------
    folder
        With ``offline.onnx`` and, if ``block`` is given, ``stream.onnx``.
    layers
        Names of the reduced layers.
    inputs
        By name, ``(1, ...)``.
    time_axis
        Position of time in the inputs.
    block, states
        Of the streaming graph.
    """
    steps = next(iter(inputs.values())).shape[time_axis]
    profiles = [profile_graph(folder / "offline.onnx", layers, inputs, steps)]
    if block is not None and block <= steps:
        first = {name: value[(slice(None),) * time_axis + (slice(block),)] for name, value in inputs.items()}
        before = {state.input: np.full((1, *state.shape), state.initial, np.float32) for state in states}
        profiles.append(profile_graph(folder / "stream.onnx", layers, first | before, block))
    return tuple(profiles)


def profile_graph(path: Path, layers: Sequence[str], feed: Mapping[str, NDArray[Any]], steps: int) -> Profile:
    """Run a graph under onnxruntime's profiler, one thread.

    Parameters
    ----------
    path
        ONNX file.
    layers
        Names of the reduced layers: nodes that compute with a layer's parameters, before or after constants are folded, are its.
    feed
        One call's inputs, states included.
    steps
        Time steps of a call.

    Raises
    ------
    UserError
        If the profile cannot be written to the place of temporary files.
    """
    owners = value_owners(onnx.load(path).graph, layers)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for _ in range(WARMUP + CALLS):
                session.run(None, dict(feed))
            events = json.loads(Path(session.end_profiling()).read_text())
            optimised = list(onnx.load(options.optimized_model_filepath).graph.node)
        except Exception as fault:  # the graph has run before; on a full disk onnxruntime leaves files that are cut off
            raise UserError(
                f"{path.name} cannot be profiled in {tempfile.gettempdir()} ({type(fault).__name__}); free space there, or let "
                "TMPDIR name another place."
            ) from fault
    calls = [_top_level(run) for run in _runs(events)[WARMUP:]]
    kinds = [node.op_type for node in optimised]
    # Files are written in the order nodes run in; where that is not so, the kinds of nodes are still known.
    placed = all([event["args"]["op_name"] for event in call] == kinds for call in calls)
    belongs = _owners_of(optimised, owners) if placed else None
    # The median of a node's times, for the machine may have been busy with something else in one of them.
    times = np.median([[event["dur"] for event in call] for call in calls], axis=0) * 1e-6
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    nodes: dict[tuple[str, str], int] = defaultdict(int)
    for index, (event, time) in enumerate(zip(calls[0], times, strict=True)):
        key = ("" if belongs is None else belongs[index], event["args"]["op_name"])
        seconds[key] += float(time)
        nodes[key] += 1
    shares = [Share(layer, kind, float(f"{value:.4g}"), nodes[layer, kind]) for (layer, kind), value in seconds.items()]
    return Profile(path.name, len(calls), steps, tuple(sorted(shares, key=lambda share: -share.seconds)))


def value_owners(graph: onnx.GraphProto, layers: Sequence[str]) -> dict[str, str]:
    """The layer of every value that is computed from a layer's parameters inside that layer's function, or alone.

    The inliner gives the values of one call of a function one suffix, ``whole__3``; the calls that use a layer's parameters, or
    constants computed from them, are the layer's.  What uses those of several layers serves them `TOGETHER`.
    """
    places = {re.sub(r"\W", "_", f"{layer}.block." if layer else "block."): layer for layer in layers}
    rests_on: dict[str, set[str]] = {}
    for tensor in graph.initializer:
        # The streaming graph's constants are named held_, what kind of value, and the path with lines for dots.
        path = re.sub(r"\W", "_", re.sub(r"^held_([bpc]_)?", "", tensor.name))
        rests_on[tensor.name] = {layer for place, layer in places.items() if path.startswith(place)}
    of_call: dict[str, set[str]] = defaultdict(set)
    for node in graph.node:
        used = set[str]().union(*(rests_on.get(name, set()) for name in node.input))
        if all(name in rests_on for name in node.input if name):
            rests_on |= dict.fromkeys(node.output, used)
        for call in filter(None, map(_call, node.output)):
            of_call[call] |= used
    found = {name: of_call.get(_call(name)) or rests_on.get(name, set()) for node in graph.node for name in node.output}
    # Lengths are computed once for all layers, in the call of the first.
    serves = {name: set(those) for name, those in found.items()}
    for node in reversed(graph.node):
        for name in node.input:
            if _call(name) and name in serves:
                serves[name] |= set[str]().union(*(serves[output] for output in node.output))
    found = {name: serves[name] if _call(name) else those for name, those in found.items()}
    return {name: next(iter(those)) if len(those) == 1 else TOGETHER for name, those in found.items() if those}


def _call(value: str) -> str:
    """Which inlined call a value is of."""
    _, separator, number = value.rpartition("__")
    return number if separator and number.isdigit() else ""


def _owners_of(nodes: Sequence[onnx.NodeProto], owners: Mapping[str, str]) -> list[str]:
    """The layer of every node of an optimised graph; a value the optimiser made is of the layer that uses it."""
    known = dict(owners)
    for node in reversed(nodes):
        users = {known[name] for name in node.output if name in known}
        if len(users) == 1 and all(name.startswith("_token") or "_token_" in name for name in node.output):
            known |= dict.fromkeys(node.output, users.pop())
        owner = next((known[name] for name in node.output if name in known), "")
        if owner:
            known |= {name: owner for name in node.input if "_token_" in name and name not in known}
    return [next((known[name] for name in node.output if name in known), "") for node in nodes]


def _runs(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The node events of each call."""
    spans = [e for e in events if e.get("cat") == "Session" and e.get("name") == "model_run"]
    nodes = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]
    return [
        [e for e in nodes if span["ts"] <= e["ts"] <= span["ts"] + span["dur"]] for span in sorted(spans, key=lambda s: s["ts"])
    ]


def _top_level(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the nodes inside the bodies of loops, whose time the loops' own includes."""
    kept: list[dict[str, Any]] = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        if kept and kept[-1]["args"]["op_name"] in ("Scan", "Loop", "If") and event["ts"] < kept[-1]["ts"] + kept[-1]["dur"]:
            continue
        kept.append(event)
    return kept
