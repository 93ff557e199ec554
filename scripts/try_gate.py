"""Try the regression gate on a loaded machine: how often it cries wolf, and how often it sleeps.

    python scripts/try_gate.py build/digits --runs 50 --out models/digits/results/gate.json

A/A compares an artifact with its own copy, A/B with one to which a chain of nodes was added that makes both graphs 10 % slower.
With ``--manifest`` both are compared with a manifest alone, through the calibration workload, as with figures from another
machine; its latencies are recorded while three times as many processes keep the cores busy:

    python scripts/try_gate.py build/digits --manifest --slower 50 --runs 20 --out models/digits/results/gate_manifest.json

Every run is `ssm2edge check` as users start it, at its default policy, while other processes keep every core busy.  The accuracy
is measured on a part of the held-out samples, so that a run is short; latencies do not depend on it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.artifact import Accuracy, Artifact, open_artifact, seal, staging
from ssm2edge.artifact.manifest import to_json
from ssm2edge.verification import Subject, relative_latencies
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.environment import environment
from ssm2edge.verification.sessions import compare_sessions, openers

SAMPLES = 100
OUTCOMES = {0: "passed", 1: "regression", 3: "inconclusive"}
LOAD = "import numpy as n\na = n.random.rand(300, 300)\nwhile True: a @ a"


def main() -> None:
    """Print both tables, and store them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="build directory of a model that streams")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--slower", type=float, default=10.0, metavar="PERCENT")
    parser.add_argument("--load", type=int, default=2, metavar="PROCESSES", help="processes that keep cores busy meanwhile")
    parser.add_argument("--manifest", action="store_true", help="compare with the manifest alone, recorded under another load")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, load(given.load):
        base, copy, slow = (Path(folder) / name for name in ("base", "copy", "slow"))
        cut(open_artifact(given.artifact), base)
        shutil.copytree(base, copy)
        sizes = tune(base, slow, 1.0 + given.slower / 100.0)
        baseline = recorded(base, Path(folder) / "recorded.json", 3 * given.load) if given.manifest else base
        planted = {name: ratio(base, slow, name, 40) for name in sizes}
        print("planted, 40 pairs of sessions: " + ", ".join(f"{name} {value:.4f}" for name, value in planted.items()))
        tables = {
            title: [check(candidate, baseline, f"{title} {run + 1}") for run in range(given.runs)]
            for title, candidate in (("A/A", copy), ("A/B", slow))
        }
    for title, rows in tables.items():
        show(title, rows)
    if given.out is not None:
        against = "manifest" if given.manifest else "artifact"
        record = {"artifact": given.artifact.name, "against": against, "load": given.load}
        record |= {"environment": asdict(environment(1)), "planted": planted}
        # One line a run.
        parts = [
            f'  "{title}": [\n' + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]" for title, rows in tables.items()
        ]
        text = json.dumps(record, indent=1)[:-2] + ',\n "runs": {\n' + ",\n".join(parts) + "\n }\n}\n"
        given.out.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def load(count: int) -> Iterator[None]:
    """Keep cores busy inside the block."""
    busy = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def cut(artifact: Artifact, directory: Path) -> None:
    """Write the artifact with fewer held-out samples."""
    pack = artifact.reference.take(slice(SAMPLES))
    manifest = artifact.manifest
    name, labels = next(iter(pack.labels.items()), ("", None))
    if manifest.accuracy is not None and labels is not None and labels.dtype.kind != "f":
        before, after = (float(np.mean(x[name].argmax(axis=1) == labels)) for x in (pack.original, pack.reduced))
        manifest = replace(manifest, accuracy=Accuracy(before, after, pack.samples))
    error = max(float(np.abs(pack.reduced[n] - x).max() / np.abs(x).max()) for n, x in pack.original.items())
    manifest = replace(manifest, parity={"checks": [{"name": "offline.error", "figure": error}]})
    with staging(directory) as folder:
        for name in manifest.files:
            shutil.copy(artifact.directory / name, folder / name)
        pack.save(folder)
        seal(folder, manifest)


def recorded(base: Path, place: Path, busy: int) -> Path:
    """Write the artifact's manifest alone, with the latencies that a build records on a machine as busy as that."""
    artifact = open_artifact(base)
    with load(busy):
        found = relative_latencies(Subject.of(artifact))
    assert artifact.manifest.latency is not None
    manifest = replace(artifact.manifest, latency=replace(artifact.manifest.latency, workload=found))
    place.write_text(to_json(manifest), encoding="utf-8")
    return place


def tune(base: Path, slow: Path, wanted: float) -> dict[str, int]:
    """Choose the length of the added chain in each graph so that its latency is ``wanted`` times what it was."""
    sizes = dict.fromkeys(["offline", "stream"], 1)
    steps = {"offline": 40000, "stream": 1000}
    plant(base, slow, sizes)
    least = {name: ratio(base, slow, name, 12) for name in sizes}
    plant(base, slow, {name: 1 + steps[name] for name in sizes})
    for _ in range(2):
        slope = {name: (ratio(base, slow, name, 12) - least[name]) / steps[name] for name in sizes}
        steps = {name: max(1, round((wanted - least[name]) / slope[name])) for name in sizes}
        sizes = {name: 1 + steps[name] for name in sizes}
        plant(base, slow, sizes)
    return sizes


def plant(base: Path, target: Path, sizes: dict[str, int]) -> None:
    """Write the artifact with a chain of nodes added to each graph; its manifest keeps the counts of before."""
    artifact = open_artifact(base)
    with staging(target, force=True) as folder:
        for name in artifact.manifest.files:
            shutil.copy(base / name, folder / name)
        for name, size in sizes.items():
            graph = onnx.load(folder / f"{name}.onnx")
            add_chain(graph, size)
            onnx.save(graph, folder / f"{name}.onnx")
        seal(folder, artifact.manifest)


def add_chain(model: onnx.ModelProto, size: int) -> None:
    """Add nothing to the first output, by a sine of ``size`` numbers that depend on the first input."""
    graph, output = model.graph, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}.before" if name == output else name for name in node.output]
        node.input[:] = [f"{name}.before" if name == output else name for name in node.input]
    tiny = np.array(1e-30, np.float32)
    constants = (np.array([size]), "chain.size"), (tiny, "chain.nothing")
    graph.initializer.extend(numpy_helper.from_array(value, name) for value, name in constants)
    node = helper.make_node
    graph.node.extend(
        [
            node("ReduceMax", [graph.input[0].name], ["chain.one"], keepdims=0),
            node("Expand", ["chain.one", "chain.size"], ["chain.many"]),
            node("Sin", ["chain.many"], ["chain.sine"]),
            node("ReduceSum", ["chain.sine"], ["chain.sum"], keepdims=0),
            node("Mul", ["chain.sum", "chain.nothing"], ["chain.zero"]),
            node("Add", [f"{output}.before", "chain.zero"], [output]),
        ]
    )
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def ratio(base: Path, other: Path, graph: str, pairs: int) -> float:
    """Latency of one artifact's graph relative to another's."""
    first, second = (Subject.of(open_artifact(path)) for path in (base, other))
    inputs = first.held_out(1)
    clock, generator = clock_for(1), np.random.default_rng()
    one, two = openers(first, inputs)[graph], openers(second, inputs)[graph]
    return math.exp(float(np.mean([compare_sessions(one, two, clock, generator).logarithm for _ in range(pairs)])))


def check(candidate: Path, base: Path, title: str) -> dict[str, Any]:
    """One run of the command."""
    command = [sys.executable, "-m", "ssm2edge.cli", "check", str(candidate), "--baseline", str(base), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in OUTCOMES:
        raise SystemExit(f"{title}: {done.stderr}")
    report = json.loads(done.stdout)
    latencies = {
        gate["name"]: {key: float(f"{value:.6g}") for key, value in gate["measured"].items()}
        for gate in report["gates"]
        if gate["measured"] is not None
    }
    failed = [gate["name"] for gate in report["gates"] if gate["outcome"] != "passed"]
    outcome, seconds, running = OUTCOMES[done.returncode], report["seconds"], os.getloadavg()[0]
    print(f"{title}: {outcome} {', '.join(failed)} in {seconds:.1f} s, load {running:.1f}", flush=True)
    return {"outcome": outcome, "not passed": failed, "latencies": latencies, "seconds": seconds, "load average": running}


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the table of one comparison."""
    print(f"\n{title}\n\n| outcome | runs |\n|---|---|")
    for outcome, count in Counter(row["outcome"] for row in rows).most_common():
        print(f"| {outcome} | {count} of {len(rows)} |")
    print("\n| graph | median ratio | smallest to largest | interval's half width, median | pairs, median (most) |")
    print("|---|---|---|---|---|")
    for graph in rows[0]["latencies"]:
        found = [row["latencies"][graph] for row in rows]
        ratios = [entry["ratio"] for entry in found]
        widths = [(entry["high"] - entry["low"]) / 2 for entry in found]
        pairs = [int(entry["sessions"]) for entry in found]
        print(
            f"| {graph} | {np.median(ratios):.4f} | {min(ratios):.4f} to {max(ratios):.4f} | {np.median(widths):.4f} "
            f"| {np.median(pairs):.0f} ({max(pairs)}) |"
        )
    seconds, running = (np.median([row[key] for row in rows]) for key in ("seconds", "load average"))
    print(f"\nmedians: {seconds:.1f} s a run, load average {running:.1f}", flush=True)


if __name__ == "__main__":
    main()
