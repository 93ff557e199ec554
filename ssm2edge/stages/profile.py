"""The time of a graph by kind of node and by layer, from onnxruntime's own profile."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ssm2edge.artifact import Profile, Share, StateRecord
from ssm2edge.errors import UserError
from ssm2edge.export.ownership import AGAIN, SEPARATOR, TOGETHER
from ssm2edge.verification.subject import along

CALLS, WARMUP = 21, 3
FEWEST, BUDGET = 5, 2.0
"""Calls of a graph that takes longer than so many seconds for all of them."""

MADE = "_token_"
"""In the names that onnxruntime gives to values of its own."""


def profile_graphs(
    folder: Path,
    layers: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    axes: Mapping[str, int | None],
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
    axes
        Time axis of each input; None where it has none.
    block, states
        Of the streaming graph.
    """
    steps = next(inputs[name].shape[axis] for name, axis in axes.items() if axis is not None)
    profiles = [profile_graph(folder / "offline.onnx", layers, inputs, steps)]
    if block is not None and block <= steps:
        first = {name: value[along(axes[name], 0, block)] for name, value in inputs.items()}
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
        Names of the reduced layers, by which their values are named.
    feed
        One call's inputs, states included.
    steps
        Time steps of a call.

    Raises
    ------
    UserError
        If the profile cannot be written to the place of temporary files.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            end = time.monotonic() + BUDGET
            for number in range(WARMUP + CALLS):
                if number >= WARMUP + FEWEST and time.monotonic() > end:
                    break
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
    belongs = _owners(optimised, {*layers, TOGETHER}) if placed else None
    # The median of a node's times, for the machine may have been busy with something else in one of them.
    times = np.median([[event["dur"] for event in call] for call in calls], axis=0) * 1e-6
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    nodes: dict[tuple[str, str], int] = defaultdict(int)
    for index, (event, taken) in enumerate(zip(calls[0], times, strict=True)):
        key = ("" if belongs is None else belongs[index], event["args"]["op_name"])
        seconds[key] += float(taken)
        nodes[key] += 1
    shares = [Share(layer, kind, float(f"{value:.4g}"), nodes[layer, kind]) for (layer, kind), value in seconds.items()]
    return Profile(path.name, len(calls), steps, tuple(sorted(shares, key=lambda share: -share.seconds)))


def _owners(nodes: Sequence[onnx.NodeProto], layers: Collection[str]) -> list[str]:
    """Return the layer of every node of an optimised graph, by the names of its values.

    A value that the optimiser made has another name, and is of the layer that reads it, or else of the one it is made from.
    """
    known: dict[str, str] = {}
    for name in {name for node in nodes for name in (*node.input, *node.output)}:
        call, separator, number = name.rpartition(SEPARATOR)
        layer = call.partition(AGAIN)[0]
        if separator and number.isdigit() and layer in layers:
            known[name] = layer
    for node in reversed(nodes):
        readers = {known[name] for name in node.output if name in known}
        if len(readers) == 1:
            known |= dict.fromkeys((name for name in node.input if MADE in name), *readers)
    for node in nodes:
        sources = {known[name] for name in node.input if name in known}
        if len(sources) == 1:
            known |= dict.fromkeys((name for name in node.output if MADE in name and name not in known), *sources)
    return [next((known[name] for name in node.output if name in known), "") for node in nodes]


def _runs(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the node events of each call."""
    spans = [e for e in events if e.get("cat") == "Session" and e.get("name") == "model_run"]
    nodes = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]
    return [
        [e for e in nodes if span["ts"] <= e["ts"] <= span["ts"] + span["dur"]] for span in sorted(spans, key=lambda s: s["ts"])
    ]


def _top_level(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events outside the bodies of loops, whose time the loops' own includes."""
    kept: list[dict[str, Any]] = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        if kept and kept[-1]["args"]["op_name"] in ("Scan", "Loop", "If") and event["ts"] < kept[-1]["ts"] + kept[-1]["dur"]:
            continue
        kept.append(event)
    return kept
