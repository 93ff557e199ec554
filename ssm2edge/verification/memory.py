"""Load time and peak memory of a graph, each in a fresh process, so that this one's memory does not count."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ssm2edge.runtime import EdgeError
from ssm2edge.verification.check import Array
from ssm2edge.verification.subject import Subject

_PROGRAM = """
import json, sys, time
import numpy as np
from ssm2edge.runtime import Model, Stream
kind, path, threads, inputs = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
values = {name: np.zeros(shape, dtype) for name, (shape, dtype) in inputs.items()}
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        try:
            import resource
        except ImportError:
            return None
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else size * 1024
before, start = peak(), time.perf_counter()
opened = Model(path, threads=threads) if kind == "offline" else Stream(path, 1, threads=threads)
loaded = time.perf_counter()
opened.run(values) if kind == "offline" else opened.push(values)
first = time.perf_counter()
print(json.dumps({"before": before, "peak": peak(), "load": loaded - start, "first": first - loaded}))
"""


@dataclass(frozen=True)
class Start:
    """Cost of starting a graph.

    Attributes
    ----------
    load
        Seconds until it is ready.
    first_call
        Seconds of the first call, which allocates memory that later ones reuse.
    peak_memory
        Peak resident bytes of the whole process, with numpy and onnxruntime; None if the system does not report them.
    added_memory
        Of these, the bytes added after the imports.
    """

    load: float
    first_call: float
    peak_memory: int | None
    added_memory: int | None


def measure_start(subject: Subject, graph: str, inputs: Mapping[str, Array]) -> Start:
    """Load a graph in a process of its own and call it once.

    Parameters
    ----------
    subject
        Graphs and threads.
    graph
        ``offline`` or ``stream``.
    inputs
        One sequence, or samples of one stream; only shapes and types are used.

    Raises
    ------
    EdgeError
        If the process fails.
    """
    path = subject.offline if graph == "offline" else subject.stream
    shapes = json.dumps({name: (value.shape, value.dtype.str) for name, value in inputs.items()})
    command = [sys.executable, "-c", _PROGRAM, graph, str(path), str(subject.threads), shapes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise EdgeError(f"{path} could not be started in a process of its own: {last[:200]}")
    found = json.loads(done.stdout)
    before, peak = found["before"], found["peak"]
    return Start(found["load"], found["first"], peak, None if peak is None or before is None else peak - before)
