"""onnxruntime sessions with everything bound once, and their profile by operator."""

from __future__ import annotations

import collections
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

STATE, NEXT = "state.", "next."


def open_session(model: onnx.ModelProto | Path, profile: Path | None = None, threads: int = 1) -> onnxruntime.InferenceSession:
    """One thread unless said otherwise, as the runtime of a device opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def bound(session: onnxruntime.InferenceSession, sizes: Mapping[str, int] | None = None) -> Callable[[], None]:
    """A call that runs the graph once on noise, with inputs, outputs and states bound beforehand.

    States that the graph turns over (``state.x`` into ``next.x``) have two buffers that take turns.  ``sizes`` are
    those of symbolic axes.
    """
    known = {"batch": 1, **(sizes or {})}
    generator = np.random.default_rng(0)
    feed: dict[str, NDArray[Any]] = {}
    for port in session.get_inputs():
        shape = [size if isinstance(size, int) else known[size] for size in port.shape]
        # Of symbols there are at least two.
        symbols = port.type == "tensor(int64)"
        feed[port.name] = generator.integers(0, 2, shape) if symbols else generator.standard_normal(shape).astype(np.float32)
        if port.name.startswith(STATE):
            feed[port.name][...] = 0.0
    names = [port.name for port in session.get_outputs()]
    results = dict(zip(names, session.run(None, feed), strict=True))
    sides = [{name: value.copy() for name, value in feed.items() if name.startswith(STATE)} for _ in range(2)]
    held = []
    bindings = []
    for before, after in (sides, sides[::-1]):
        binding = session.io_binding()
        for name, value in feed.items():
            held.append(onnxruntime.OrtValue.ortvalue_from_numpy(before.get(name, value)))
            binding.bind_ortvalue_input(name, held[-1])
        for name, value in results.items():
            target = after.get(STATE + name.removeprefix(NEXT), value)
            held.append(onnxruntime.OrtValue.ortvalue_from_numpy(target))
            binding.bind_ortvalue_output(name, held[-1])
        bindings.append(binding)
    turn = [0]

    def call() -> None:
        session.run_with_iobinding(bindings[turn[0]])
        turn[0] ^= 1

    call.held = (held, sides, feed, results)  # type: ignore[attr-defined]  # the buffers live as long as the call
    return call


def _seconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def profile(
    model: onnx.ModelProto | Path, sizes: Mapping[str, int] | None = None, runs: int = 40, threads: int = 1
) -> dict[str, float]:
    """Share of the time by operator, largest first, those below 4 % together.

    The profiler's own microsecond a node counts with the node, so that shares of small ones are upper bounds.  It is taken off a
    Scan, whose steps are profiled node by node and which would look several times as long.
    """
    with tempfile.TemporaryDirectory() as directory:
        session = open_session(model, Path(directory) / "profile", threads)
        call, plain = bound(session, sizes), bound(open_session(model, threads=threads), sizes)
        longer = statistics.median(_seconds(call) - _seconds(plain) for _ in range(runs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = sorted(
        (event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")),
        key=lambda event: (event["ts"], -event["dur"]),
    )
    # Microseconds of the profiler at one node.
    own = max(0.0, longer * 1e6 * runs / max(1, len(kernels)))
    spent: dict[str, float] = collections.defaultdict(float)
    end, loop = 0.0, ""
    for event in kernels:
        # The time of a Scan holds that of the nodes of its body, which are listed too.
        if event["ts"] + event["dur"] <= end:
            spent[loop] -= own
            continue
        spent[event["args"]["op_name"]] += event["dur"]
        if event["args"]["op_name"] == "Scan":
            end, loop = event["ts"] + event["dur"], "Scan"
    spent = {name: max(0.0, used) for name, used in sorted(spent.items(), key=lambda item: -item[1])}
    total = sum(spent.values())
    shares = {name: used / total for name, used in spent.items()}
    large = {name: share for name, share in shares.items() if share >= 0.04}
    return {**large, "others": 1.0 - sum(large.values())}
