"""The step as WebAssembly without imports."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ssm2edge.firmware.language import c_type
from ssm2edge.firmware.sources import Names, filled, template, write_header, write_source
from ssm2edge.firmware.step import Step
from ssm2edge.firmware.tools import STRICT, find_tool, run_tool

FLAGS = ("--target=wasm32", "-nostdlib", "-ffreestanding", "-fno-builtin", "-O3")
"""Without -msimd128, under which clang 14 compiles depthwise convolutions to code that gives other numbers."""
LINKED = ("-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536")
MEND = "install clang and lld"
FOLDER = "web"
"""Of the package's files for the web."""


def compiled(step: Step, names: Names) -> bytes:
    """Return the module of WebAssembly.

    Raises
    ------
    FirmwareError
        If clang or wasm-ld is missing or fails.
    """
    compiler = find_tool(("clang",), MEND)
    find_tool(("wasm-ld",), MEND)
    model, ports = names.model, [*step.inputs, *step.outputs]
    blocks = [f"{names.ports[buffer.name]}_block" for buffer in ports]
    text = filled(
        "web.c",
        FOLDER,
        name=model,
        buffers="\n".join(f"static {c_type(b.dtype)} {block}[{b.size}];" for b, block in zip(ports, blocks, strict=True)),
        arguments=", ".join(blocks),
        places="\n".join(f"    case {place}: return {block};" for place, block in enumerate(blocks)),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = {
            f"{model}.h": write_header(step, names),
            f"{model}.c": write_source(step, names),
            "web.c": text,
            "math.h": template("math.h", FOLDER),
            "string.h": template("string.h", FOLDER),
        }
        for file, written in files.items():
            (folder / file).write_text(written, encoding="utf-8")
        run_tool([compiler, *STRICT, *FLAGS, "-isystem", ".", f"{model}.c", "web.c", *LINKED, "-o", "module.wasm"], folder)
        return (folder / "module.wasm").read_bytes()
