"""The folder for the web: the step as WebAssembly without imports, and a module of JavaScript that streams through it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.language import c_type
from ssm2edge.firmware.package import Firmware, firmware_of
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import filled, template, write_header, write_source
from ssm2edge.firmware.tools import STRICT, find_tool, run_tool
from ssm2edge.firmware.views import Buffer
from ssm2edge.runtime.ports import Port

FLAGS = ("--target=wasm32", "-nostdlib", "-ffreestanding", "-fno-builtin", "-O3")
"""Without -msimd128, under which clang 14 compiles depthwise convolutions to code that gives other numbers."""
LINKED = ("-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536")
MEND = "install clang and lld"
LONGEST = 1024
"""Samples of a microphone that one call takes; the module of JavaScript has the same number."""

HEAR = """static int16_t sound_block[@longest@];
EXPORT(sound_place) void *web_sound_place(void) { return sound_block; }
EXPORT(hear) int web_hear(int count) { return @name@_hear(&the_stream, sound_block, count, @outputs@); }
"""


def package_web(artifact: Artifact, out: str | os.PathLike[str], name: str | None = None, force: bool = False) -> int:
    """Write the folder of an artifact for browsers and Node, whole or not at all.

    Returns
    -------
    int
        Bytes of the module of WebAssembly.

    Raises
    ------
    FirmwareError
        If the artifact has no C form, clang is missing, or the folder is taken or cannot be written.
    """
    firmware = firmware_of(artifact, name)
    files = web_files(firmware)
    publish(Path(out), files, force)
    return len(files[f"{firmware.names.model}.wasm"])


def web_files(firmware: Firmware) -> dict[str, str | bytes]:
    """Return the files of the folder by name."""
    model = firmware.names.model
    return {f"{model}.wasm": compiled(firmware), f"{model}.mjs": _module(firmware), f"{model}.d.mts": template("web.d.ts")}


def compiled(firmware: Firmware) -> bytes:
    """Return the module of WebAssembly."""
    compiler = find_tool(("clang",), MEND)
    find_tool(("wasm-ld",), MEND)
    step, names = firmware.step, firmware.names
    model, ports = names.model, [*step.inputs, *step.outputs]
    blocks = [f"{names.ports[buffer.name]}_block" for buffer in ports]
    struct = "sound" if firmware.sound else "stream"
    hear = HEAR.replace("@longest@", str(LONGEST)).replace("@name@", model)
    text = filled(
        "web.c",
        name=model,
        struct=f"{model}_{struct}",
        init=f"{model}_{'sound_init' if firmware.sound else 'init'}",
        member=".stream" if firmware.sound else "",
        buffers="\n".join(f"static {c_type(b.dtype)} {block}[{b.size}];" for b, block in zip(ports, blocks, strict=True)),
        arguments=", ".join(blocks),
        places="\n".join(f"    case {place}: return {block};" for place, block in enumerate(blocks)),
        hear=hear.replace("@outputs@", ", ".join(blocks[len(step.inputs) :])) if firmware.sound else "",
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = {
            f"{model}.h": write_header(step, names, (), firmware.front_end),
            f"{model}.c": write_source(step, names, (), firmware.front_end),
            "web.c": text,
            "math.h": template("web_math.h"),
            "string.h": template("web_string.h"),
        }
        for file, written in files.items():
            (folder / file).write_text(written, encoding="utf-8")
        run_tool([compiler, *STRICT, *FLAGS, "-isystem", ".", f"{model}.c", "web.c", *LINKED, "-o", "module.wasm"], folder)
        return (folder / "module.wasm").read_bytes()


def _module(firmware: Firmware) -> str:
    step, signature = firmware.step, firmware.step.signature
    return filled(
        "web.mjs",
        name=firmware.names.model,
        block=signature.block or 1,
        inputs=_listed(signature.inputs, step.inputs),
        outputs=_listed(signature.outputs, step.outputs),
        classes=json.dumps(list(firmware.classes)),
        rate=firmware.sound.sample_rate if firmware.sound else 0,
    )


def _listed(ports: Sequence[Port], buffers: Sequence[Buffer]) -> str:
    listed: list[dict[str, Any]] = [
        {
            "name": port.name,
            "shape": list(port.shape),
            "size": buffer.size,
            "dtype": buffer.dtype.name,
            "timeAxis": port.time_axis,
        }
        for port, buffer in zip(ports, buffers, strict=True)
    ]
    return json.dumps(listed)
