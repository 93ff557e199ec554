"""Device graphs on other runtimes: the largest difference from onnxruntime over a few hundred blocks, or how each refuses.

    python scripts/try_runtimes.py device/keywords device/sysid ... [--json docs/runtimes.json]

Takes folders that `ssm2edge package --target onnx` made, and needs numpy, onnxruntime and click beside the runtimes themselves
(openvino, tract, ncnn with pnnx, ai-edge-litert with onnx2tf), so that they may have an environment of their own.  Every run is a
process of its own: a runtime may end its process.  Exit code 1 if a runtime gives other answers without refusing.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime

BLOCKS = 300
LIMIT = 1e-4
GRAPH, PORTS = "stream.device.onnx", "ports.json"
Feeds = Mapping[str, np.ndarray[Any, Any]]
Step = Callable[[Feeds], Feeds]


def reference(folder: Path, ports: Mapping[str, Any]) -> Step:
    """Return a block in onnxruntime."""
    session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])
    names = results(ports)
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def openvino_step(folder: Path, ports: Mapping[str, Any]) -> Step:
    """Return a block in OpenVINO, which computes in bfloat16 unless asked for float32."""
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(folder / GRAPH), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = results(ports)
    return lambda feeds: (found := model(dict(feeds))) and {name: found[name] for name in names}


def tract_step(folder: Path, ports: Mapping[str, Any]) -> Step:
    """Return a block in tract."""
    import tract

    run = tract.onnx().load(str(folder / GRAPH)).into_model().into_runnable()
    order, names = arguments(ports), results(ports)
    return lambda feeds: dict(zip(names, (value.to_numpy() for value in run.run([feeds[n] for n in order])), strict=True))


def ncnn_step(folder: Path, ports: Mapping[str, Any]) -> Step:
    """Return a block in ncnn, converted by pnnx."""
    import ncnn

    shapes = [port["shape"] for port in (*ports["inputs"], *ports["states"])]
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / GRAPH, Path(place) / "graph.onnx")
        given = ",".join("[" + ",".join(map(str, shape)) + "]" for shape in shapes)
        converter = Path(sys.executable).with_name("pnnx")
        subprocess.run([converter, "graph.onnx", f"inputshape={given}", "fp16=0"], cwd=place, check=True, capture_output=True)
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_packing_layout = False
        net.load_param(f"{place}/graph.ncnn.param")
        net.load_model(f"{place}/graph.ncnn.bin")
    order, names = arguments(ports), results(ports)

    def step(feeds: Feeds) -> Feeds:
        extractor = net.create_extractor()
        for place, name in enumerate(order):
            extractor.input(f"in{place}", ncnn.Mat(np.ascontiguousarray(feeds[name][0])).clone())
        return {name: np.array(extractor.extract(f"out{place}")[1]) for place, name in enumerate(names)}

    return step


def litert_step(folder: Path, ports: Mapping[str, Any]) -> Step:
    """Return a block in LiteRT, converted by onnx2tf; it has no error function, so elementary operators stand for it."""
    from ai_edge_litert.interpreter import Interpreter

    converter = Path(sys.executable).with_name("onnx2tf")
    options = ["-n", "-osd", "-rtpo", "Erf", "GeLU", "-kat", *arguments(ports)]
    with tempfile.TemporaryDirectory() as place:
        # The converter writes what it simplified over its input.
        shutil.copy(folder / GRAPH, place)
        command = [str(converter), "-i", GRAPH, "-o", "out", *options]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        content = (Path(place) / "out" / "stream.device_float32.tflite").read_bytes()
    run = Interpreter(model_content=content).get_signature_runner()
    return lambda feeds: dict(run(**feeds))


RUNTIMES: Mapping[str, Callable[[Path, Mapping[str, Any]], Step]] = {
    "openvino": openvino_step,
    "tract": tract_step,
    "ncnn": ncnn_step,
    "ai-edge-litert": litert_step,
}
"""Runtimes by the name of their package."""


def arguments(ports: Mapping[str, Any]) -> list[str]:
    """Return the inputs in the graph's order."""
    return [port["name"] for port in ports["inputs"]] + [state["input"] for state in ports["states"]]


def results(ports: Mapping[str, Any]) -> list[str]:
    """Return the outputs in the graph's order."""
    return [port["name"] for port in ports["outputs"]] + [state["output"] for state in ports["states"]]


def answers(step: Step, ports: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return the outputs of all blocks of a stream of noise."""
    generator, rows = np.random.default_rng(0), []
    states = {state["input"]: np.full(state["shape"], state["initial"], state["dtype"]) for state in ports["states"]}
    for _ in range(BLOCKS):
        feeds = {port["name"]: generator.standard_normal(port["shape"]).astype(np.float32) for port in ports["inputs"]}
        found = step({**feeds, **states})
        rows.append(np.concatenate([np.ravel(found[port["name"]]) for port in ports["outputs"]]))
        states = {s["input"]: np.array(found[s["output"]]).reshape(s["shape"]) for s in ports["states"]}
    return np.stack(rows)


def try_one(folder: Path, runtime: str) -> None:
    """Print the difference of one runtime."""
    ports = json.loads((folder / PORTS).read_text(encoding="utf-8"))
    expected = answers(reference(folder, ports), ports)
    found = answers(RUNTIMES[runtime](folder, ports), ports)
    click.echo(f"difference {float(np.abs(found - expected).max() / np.abs(expected).max()):.3e}")


def verdict(folder: Path, runtime: str) -> float | str:
    """Return the difference that a runtime shows in a process of its own, or its last words."""
    command = [sys.executable, __file__, str(folder), "--only", runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    told = done.stdout.split("difference ")
    if done.returncode == 0 and len(told) == 2:
        return float(told[1])
    last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return last[-1].strip()[:160] if last else f"ended with {done.returncode}"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", type=click.Choice(list(RUNTIMES)), help="Run this runtime in this process.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to write the verdicts to.")
def main(folders: tuple[Path, ...], only: str | None, target: Path | None) -> None:
    """Try every runtime that is installed on every folder."""
    if only is not None:
        for folder in folders:
            try_one(folder, only)
        return
    table: dict[str, dict[str, float | str]] = {}
    for runtime in RUNTIMES:
        try:
            version = importlib.metadata.version(runtime)
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"{runtime} is not installed.")
            continue
        row = table[f"{runtime} {version}"] = {folder.resolve().name: verdict(folder, runtime) for folder in folders}
        click.echo(f"{runtime} {version}: " + ", ".join(f"{name} {value}" for name, value in row.items()))
    if target is not None:
        target.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(isinstance(value, float) and not value <= LIMIT for row in table.values() for value in row.values()))


if __name__ == "__main__":
    main()
