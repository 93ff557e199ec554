"""The folder for the web: a module of JavaScript for browsers and Node, its engines, and a page that shows the model at work."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.language import c_name
from ssm2edge.firmware.onnx_package import NAME, PORTS, device_files
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import Names, filled, template
from ssm2edge.firmware.step import make_step
from ssm2edge.firmware.web_description import describe
from ssm2edge.firmware.web_example import example
from ssm2edge.firmware.web_module import FOLDER, compiled

OFFLINE = "offline.onnx"
SCRIPTS = (
    "errors.js", "files.js", "index.d.ts", "index.js", "listener.js", "log_mel.js", "model.js", "onnx_engine.js", "ports.js",
    "recordings.js", "snapshot.js", "stream.js", "wasm_engine.js",
)  # fmt: skip
"""Files of the module, alike for all models."""
PAGE = (
    "board.js", "charts.js", "check.js", "index.html", "microphone.js", "page.css", "page.js", "page_samples.js", "page_sound.js",
    "status.js",
)  # fmt: skip
"""Files of the page and of the test."""


@dataclass(frozen=True)
class WebPackage:
    """A folder that was written.

    Attributes
    ----------
    wasm
        Bytes of the module of WebAssembly; None for a model that does not stream, which needs onnxruntime-web.
    """

    wasm: int | None


def package_web(artifact: Artifact, out: str | os.PathLike[str], name: str | None = None, force: bool = False) -> WebPackage:
    """Write the folder of an artifact for browsers and Node, whole or not at all.

    Raises
    ------
    FirmwareError
        If the streaming graph has no C form, clang is missing, or the folder is taken or cannot be written.
    """
    if name is not None and c_name(name) != name:
        raise FirmwareError(f"{name!r} cannot be the name of the model in C: give one such as {c_name(name)}.")
    model = name or c_name(artifact.directory.resolve().name)
    files = web_files(artifact, model)
    shown = example(artifact)
    wasm = files.get(f"{model}.wasm")
    size = None if wasm is None else len(wasm)
    more: dict[str, str | bytes] = {page: template(page, FOLDER) for page in PAGE}
    more["example.json"] = json.dumps(shown) + "\n"
    more["README.md"] = _readme(artifact, model, size, list(shown["inputs"]) if shown else [])
    publish(Path(out), {**files, **more}, force)
    return WebPackage(size)


def web_files(artifact: Artifact, name: str) -> dict[str, str | bytes]:
    """Return the files of the module by name."""
    files: dict[str, str | bytes] = {script: template(script, FOLDER) for script in SCRIPTS}
    files[OFFLINE] = artifact.offline.read_bytes()
    named: dict[str, str | None] = {"wasm": None, "stream": None, "ports": None, "offline": OFFLINE}
    signature = ports = None
    if artifact.stream is not None:
        step = make_step(read_graph(artifact.stream))
        device, _ = device_files(artifact)
        signature, ports = step.signature, device.ports
        named |= {"wasm": f"{name}.wasm", "stream": NAME, "ports": PORTS}
        files |= {f"{name}.wasm": compiled(step, Names.of(step, name)), NAME: device.graph, PORTS: device.ports_json}
    files["package.json"] = _text(_npm(name)) + "\n"
    described = describe(artifact, name, signature, ports) | {"files": named}
    files["description.js"] = f"// Made by ssm2edge: all that stands in this folder.\nexport default {_text(described)};\n"
    return files


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _npm(name: str) -> dict[str, Any]:
    return {
        "name": name.replace("_", "-"),
        "version": "1.0.0",
        "private": True,
        "type": "module",
        "exports": {".": {"types": "./index.d.ts", "default": "./index.js"}, "./*": "./*"},
        "scripts": {"test": "node check.js"},
        "peerDependencies": {"onnxruntime-web": "*"},
        "peerDependenciesMeta": {"onnxruntime-web": {"optional": True}},
    }


def _readme(artifact: Artifact, name: str, wasm: int | None, inputs: list[str]) -> str:
    streams = wasm is not None
    front_end = (artifact.manifest.task or {}).get("front_end")
    use = (SOUND.replace("@rate@", str(front_end["sample_rate"])) if front_end else STREAM) if streams else MODEL
    return filled(
        "README.md",
        FOLDER,
        name=name,
        npm=name.replace("_", "-"),
        version=artifact.manifest.tool.get("ssm2edge", ""),
        sha256=artifact.manifest.files["stream.onnx" if streams else OFFLINE].sha256,
        engine=WASM.replace("@name@", name).replace("@size@", f"{(wasm or 0) / 1e3:.0f}") if streams else ONNX_ALONE,
        use=use.replace("@samples@", "samples" if len(inputs) < 2 else f"{{ {', '.join(inputs)} }}"),
        imports="Listener, Model, Resampler, Stream" if front_end and streams else "Model, Stream",
    )


WASM = "`@name@.wasm` has the whole model with its weights in @size@ KB and imports nothing: it is the default."
ONNX_ALONE = "The model does not stream, so it runs in onnxruntime-web alone, which you bring (below)."
SOUND = """const listener = await Listener.open();
for (const word of await listener.push(samples)) console.log(word.word, word.probability, word.start, word.end);
// samples: a Float32Array from -1 to 1, @rate@ a second, of any length; `new Resampler(48000, @rate@)` makes them of others"""
STREAM = """const stream = await Stream.open();
const answers = stream.push(@samples@); // any number of samples, in a row; answers by the name of the output"""
MODEL = """const model = await Model.open({ onnxruntime });
const answers = await model.run(@samples@); // a whole sequence; answers by the name of the output"""
