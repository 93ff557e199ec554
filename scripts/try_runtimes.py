"""Device graphs on other runtimes: the largest difference from onnxruntime, or how each refuses.

    python scripts/try_runtimes.py device/keywords device/sysid ... [--answers answers] [--json docs/runtimes.json]

Takes folders that `ssm2edge package --target onnx` made: a few hundred blocks of `stream.device.onnx`, and one sequence of
`offline.device.onnx`; with `--builds build`, of `build/NAME/stream.onnx` and `offline.onnx` too.  Needs numpy, onnxruntime
and click beside the runtimes themselves (openvino, tract, ncnn with pnnx, ai-edge-litert with onnx2tf, iree-base-compiler and
-runtime, apache-tvm, mnn), which do not all fit into one environment: run it in each, and what stands in the file stays.  npm's
onnxruntime-node and -web stand below the folder NODE_MODULES.  `--answers` keeps those of the first run's onnxruntime for the
others.  Every run is a process of its own: a runtime may end its process.  Exit code 1 if a runtime gives other answers without
refusing.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime

BLOCKS = 300
LIMIT = 1e-4
STREAM, OFFLINE, OWN_STREAM, OWN_OFFLINE = "stream", "offline", "stream.onnx", "offline.onnx"
DEVICE = {STREAM: "stream.device.onnx", OFFLINE: "offline.device.onnx"}
KINDS = (STREAM, OFFLINE, OWN_STREAM, OWN_OFFLINE)
"""The two device graphs, and those that are made for onnxruntime, whose batch and length are free."""
TIMEOUT = 600
WRONG = "wrong"
"""Start of the verdict on answers that are no numbers."""
Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
Step = Callable[[Feeds], Feeds]


def run_tool(command: list[Any], place: str) -> None:
    """Run a converter in a folder; its last words are the error."""
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        found = [line for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower()]
        raise RuntimeError(f"{Path(command[0]).name}: {found[0] if found else done.returncode}")


@dataclass(frozen=True)
class Graph:
    """A graph and its ports, in order.

    Attributes
    ----------
    file
        The graph.
    inputs
        Ports of inputs, then of states.
    outputs
        Names of outputs, then of states.
    states
        Of a stream: input, output, shape, initial, dtype.
    """

    file: Path
    inputs: list[dict[str, Any]]
    outputs: list[str]
    states: list[dict[str, Any]]

    @classmethod
    def of(cls, folder: Path, kind: str, builds: Path | None) -> Graph:
        """Read the ports of a folder."""
        folder = folder.resolve()
        ports = json.loads((folder / "ports.json").read_text(encoding="utf-8"))
        inputs, outputs, states = ports["offline"]["inputs"], ports["offline"]["outputs"], list[dict[str, Any]]()
        if kind in (STREAM, OWN_STREAM):
            inputs, outputs, states = ports["inputs"], ports["outputs"], ports["states"]
        given = [*inputs, *({**state, "name": state["input"]} for state in states)]
        found = [port["name"] for port in outputs] + [state["output"] for state in states]
        if kind in DEVICE:
            return cls(folder / DEVICE[kind], given, found, states)
        assert builds is not None
        file = builds.resolve() / folder.name / kind
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        own, results = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
        names = dict(zip((port["name"] for port in given), own, strict=True)) | dict(zip(found, results, strict=True))
        given = [{**port, "name": names[port["name"]]} for port in given]
        states = [{**state, "input": names[state["input"]], "output": names[state["output"]]} for state in states]
        return cls(file, given, results, states)

    @property
    def names(self) -> list[str]:
        """Names of the inputs."""
        return [port["name"] for port in self.inputs]


def onnxruntime_step(graph: Graph) -> Step:
    """Return a block in onnxruntime."""
    session = onnxruntime.InferenceSession(str(graph.file), providers=["CPUExecutionProvider"])
    return lambda feeds: dict(zip(graph.outputs, session.run(graph.outputs, dict(feeds)), strict=True))


def openvino_step(graph: Graph) -> Step:
    """Return a block in OpenVINO, which computes in bfloat16 unless asked for float32."""
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(graph.file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feeds: (found := model(dict(feeds))) and {name: found[name] for name in graph.outputs}


def tract_step(graph: Graph) -> Step:
    """Return a block in tract."""
    import tract

    loaded = tract.onnx().load(str(graph.file))
    for place, port in enumerate(graph.inputs):
        loaded.set_input_fact(place, ",".join(map(str, port["shape"])) + ",f32")
    run = loaded.into_model().into_runnable()

    def step(feeds: Feeds) -> Feeds:
        found = run.run([feeds[name] for name in graph.names])
        return dict(zip(graph.outputs, (value.to_numpy() for value in found), strict=True))

    return step


def ncnn_step(graph: Graph) -> Step:
    """Return a block in ncnn, converted by pnnx."""
    import ncnn

    with tempfile.TemporaryDirectory() as place:
        shutil.copy(graph.file, Path(place) / "graph.onnx")
        given = ",".join("[" + ",".join(map(str, port["shape"])) + "]" for port in graph.inputs)
        converter = Path(sys.executable).with_name("pnnx")
        run_tool([converter, "graph.onnx", f"inputshape={given}", "fp16=0"], place)
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_packing_layout = False
        if net.load_param(f"{place}/graph.ncnn.param") or net.load_model(f"{place}/graph.ncnn.bin"):
            raise RuntimeError("ncnn cannot load what pnnx made of it")

    def step(feeds: Feeds) -> Feeds:
        extractor = net.create_extractor()
        for place, name in enumerate(graph.names):
            extractor.input(f"in{place}", ncnn.Mat(np.ascontiguousarray(feeds[name][0])).clone())
        return {name: np.array(extractor.extract(f"out{place}")[1]) for place, name in enumerate(graph.outputs)}

    return step


def litert_step(graph: Graph) -> Step:
    """Return a block in LiteRT, converted by onnx2tf; it has no error function, so elementary operators stand for it."""
    from ai_edge_litert.interpreter import Interpreter

    converter = Path(sys.executable).with_name("onnx2tf")
    options = ["-n", "-osd", "-rtpo", "Erf", "GeLU", "-kat", *graph.names]
    with tempfile.TemporaryDirectory() as place:
        # The converter writes what it simplified over its input.
        shutil.copy(graph.file, Path(place) / "graph.onnx")
        command = [str(converter), "-i", "graph.onnx", "-o", "out", *options]
        run_tool(command, place)
        content = (Path(place) / "out" / "graph_float32.tflite").read_bytes()
    run = Interpreter(model_content=content).get_signature_runner()
    return lambda feeds: dict(run(**feeds))


def iree_step(graph: Graph) -> Step:
    """Return a block in IREE, compiled for this processor."""
    import iree.runtime

    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as place:
        run_tool([tools / "iree-import-onnx", graph.file, "-o", "graph.mlir"], place)
        target = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"]
        command = [tools / "iree-compile", "graph.mlir", *target, "--iree-llvmcpu-target-cpu=host", "-o", "graph.vmfb"]
        run_tool(command, place)
        content = (Path(place) / "graph.vmfb").read_bytes()
    context = iree.runtime.SystemContext(config=iree.runtime.Config("local-sync"))
    module = iree.runtime.VmModule.copy_buffer(context.instance, content)
    context.add_vm_module(module)
    (name,) = (name for name in module.function_names if not name.startswith("__") and "$async" not in name)
    function = context.modules[module.name][name]

    def step(feeds: Feeds) -> Feeds:
        found = function(*(np.ascontiguousarray(feeds[name]) for name in graph.names))
        values = found if isinstance(found, (tuple, list)) else [found]
        return dict(zip(graph.outputs, (value.to_host() for value in values), strict=True))

    return step


def mnn_step(graph: Graph) -> Step:
    """Return a block in MNN, converted by its own tool."""
    from MNN import expr, nn

    with tempfile.TemporaryDirectory() as place:
        # Its command installs and calls what reports its use; the converter itself does not.
        convert = [sys.executable, "-c", "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"]
        run_tool([*convert, "-f", "ONNX", "--MNNModel", "graph.mnn", "--bizCode", "ssm", "--modelFile", str(graph.file)], place)
        if not (Path(place) / "graph.mnn").exists():
            raise RuntimeError("mnnconvert makes nothing of it")
        net = nn.load_module_from_file(f"{place}/graph.mnn", graph.names, graph.outputs)

    def step(feeds: Feeds) -> Feeds:
        given = []
        for port in graph.inputs:
            value = expr.placeholder(list(port["shape"]), expr.NCHW)
            value.write(np.ascontiguousarray(feeds[port["name"]]))
            given.append(value)
        found = net.forward(given)
        return {name: np.array(expr.convert(value, expr.NCHW).read()) for name, value in zip(graph.outputs, found, strict=True)}

    return step


def tvm_step(graph: Graph) -> Step:
    """Return a block in TVM, compiled by LLVM."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    shapes = {port["name"]: list(port["shape"]) for port in graph.inputs}
    module = tvm.compile(from_onnx(onnx.load(graph.file), shape_dict=shapes), "llvm")
    machine = relax.VirtualMachine(module, tvm.cpu())

    def step(feeds: Feeds) -> Feeds:
        found = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(feeds[name])) for name in graph.names))
        values = [found] if hasattr(found, "numpy") else list(found)
        return dict(zip(graph.outputs, (value.numpy() for value in values), strict=True))

    return step


def node_step(package: str) -> Callable[[Graph], Step]:
    """Return what opens a graph in a package of npm, below the folder NODE_MODULES, in Node."""

    def open_graph(graph: Graph) -> Step:
        command = ["node", str(Path(__file__).with_name("run_blocks.mjs")), os.environ["NODE_MODULES"], package, str(graph.file)]
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert running.stdin is not None
        assert running.stdout is not None
        given, answered = running.stdin, running.stdout

        def step(feeds: Feeds) -> Feeds:
            texts = {name: [value.shape, base64.b64encode(value.tobytes()).decode()] for name, value in feeds.items()}
            given.write(json.dumps(texts) + "\n")
            given.flush()
            found = json.loads(answered.readline())
            return {name: np.frombuffer(base64.b64decode(found[name]), np.float32) for name in graph.outputs}

        return step

    return open_graph


def version_of(runtime: str) -> str | None:
    """Return the version of a package of Python or npm; None if it is not installed."""
    if runtime in NPM:
        file = Path(os.environ.get("NODE_MODULES", "")) / runtime / "package.json"
        return str(json.loads(file.read_text())["version"]) if file.exists() else None
    try:
        return importlib.metadata.version(runtime)
    except importlib.metadata.PackageNotFoundError:
        return None


NPM = ("onnxruntime-node", "onnxruntime-web")
RUNTIMES: Mapping[str, Callable[[Graph], Step]] = {
    "onnxruntime": onnxruntime_step,
    **{package: node_step(package) for package in NPM},
    "openvino": openvino_step,
    "tract": tract_step,
    "ncnn": ncnn_step,
    "ai-edge-litert": litert_step,
    "iree-base-runtime": iree_step,
    "mnn": mnn_step,
    "apache-tvm": tvm_step,
}
"""Runtimes by the name of their package."""


def answers(step: Step, graph: Graph) -> Array:
    """Return the outputs to noise: of all blocks of a stream, or of one sequence."""
    generator, rows = np.random.default_rng(0), []
    states = {state["input"]: np.full(state["shape"], state["initial"], state["dtype"]) for state in graph.states}
    given = graph.inputs[: len(graph.inputs) - len(states)]
    results = graph.outputs[: len(graph.outputs) - len(states)]
    for _ in range(BLOCKS if states else 1):
        feeds = {port["name"]: generator.standard_normal(port["shape"]).astype(np.float32) for port in given}
        found = step({**feeds, **states})
        rows.append(np.concatenate([np.ravel(found[name]) for name in results]))
        states = {s["input"]: np.array(found[s["output"]], np.float32).reshape(s["shape"]) for s in graph.states}
    return np.stack(rows)


def try_one(folder: Path, kind: str, runtime: str, builds: Path | None, kept: Path | None) -> None:
    """Print the difference of one runtime."""
    graph = Graph.of(folder, kind, builds)
    file = None if kept is None else kept / f"{folder.resolve().name}.{kind}.npy"
    if file is not None and file.exists():
        expected = np.load(file)
    else:
        expected = answers(onnxruntime_step(graph), graph)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, expected)
    found = answers(RUNTIMES[runtime](graph), graph)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    click.echo(f"difference {difference:.3e}" if np.isfinite(difference) else "difference no number")
    sys.stdout.flush()
    # Some runtimes fail while they are taken down.
    os._exit(0)


def verdict(folder: Path, kind: str, runtime: str, more: list[str]) -> float | str:
    """Return the difference that a runtime shows in a process of its own, or its last words."""
    command = [sys.executable, __file__, str(folder), "--only", runtime, "--kind", kind, *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {TIMEOUT} s"
    told = done.stdout.split("difference ")
    if done.returncode == 0 and len(told) == 2:
        # JSON has no NaN.
        return f"{WRONG}: {told[1].strip()}" if "no number" in told[1] else float(told[1])
    if done.returncode < 0:
        return f"its process ends with signal {-done.returncode}"
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "exception" in line.lower()]
    return (errors or lines or [f"ended with {done.returncode}"])[-1][:160]


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", type=click.Choice(list(RUNTIMES)), help="Run this runtime in this process.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Graphs to try.")
@click.option("--runtime", "chosen", multiple=True, type=click.Choice(list(RUNTIMES)), help="Runtimes to try.  [default: all]")
@click.option("--builds", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the artifacts.")
@click.option("--answers", "kept", type=click.Path(path_type=Path), help="Folder of the answers of the first onnxruntime.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to add the verdicts to.")
def main(
    folders: tuple[Path, ...],
    only: str | None,
    kinds: tuple[str, ...],
    chosen: tuple[str, ...],
    builds: Path | None,
    kept: Path | None,
    target: Path | None,
) -> None:
    """Try every runtime that is installed on every folder."""
    if only is not None:
        try_one(folders[0], kinds[0], only, builds, kept)
    more = [*(["--builds", str(builds)] if builds else []), *(["--answers", str(kept)] if kept else [])]
    table = json.loads(target.read_text(encoding="utf-8")) if target is not None and target.exists() else {}
    wrong = False
    for kind in kinds or KINDS[: 4 if builds else 2]:
        for runtime in chosen or RUNTIMES:
            version = version_of(runtime)
            if version is None:
                continue
            row = table.setdefault(kind, {}).setdefault(f"{runtime} {version}", {})
            for folder in folders:
                name = folder.resolve().name
                # Conversions take minutes: what stands in the file stays.
                row[name] = row[name] if name in row else verdict(folder, kind, runtime, more)
                if target is not None:
                    target.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
            click.echo(f"{kind}, {runtime} {version}: " + ", ".join(f"{name} {value}" for name, value in row.items()))
            wrong |= any(value.startswith(WRONG) if isinstance(value, str) else value > LIMIT for value in row.values())
    sys.exit(wrong)


if __name__ == "__main__":
    main()
