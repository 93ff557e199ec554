"""The firmware folder: sources, example, vectors, build files and a page with its sizes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Artifact, DeviceRecord
from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.recordings import FrontEnd
from ssm2edge.firmware.comparing import blocks_of, run_stream
from ssm2edge.firmware.driver import Blocks
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.front_end import log_mel
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.language import c_name, c_type
from ssm2edge.firmware.publishing import publish
from ssm2edge.firmware.sources import Extra, Names, array, bytes_of, filled, struct_bytes, write_header, write_source
from ssm2edge.firmware.step import Step, make_step
from ssm2edge.firmware.views import Buffer

LIMIT = 1e-4
"""Largest difference, relative to the largest answer, at which the example calls its answers the same."""
LARGEST_VECTORS = 4096
"""Numbers in the vectors up to which blocks are added."""


@dataclass(frozen=True)
class Firmware:
    """The C form of an artifact's streaming graph.

    Attributes
    ----------
    step
        The step.
    names
        Its names in C.
    classes
        Names of the classes; empty without.
    sound
        Its front end; None without one.
    """

    step: Step
    names: Names
    classes: tuple[str, ...]
    sound: LogMel | None

    @property
    def front_end(self) -> Extra | None:
        """The C form of the front end; None without one."""
        return None if self.sound is None else log_mel(self.sound, self.step, self.names)


def firmware_of(artifact: Artifact, name: str | None = None) -> Firmware:
    """Write the streaming graph of an artifact as C, in memory.

    Raises
    ------
    FirmwareError
        If the model does not stream, or an operator has no C form.
    """
    if artifact.stream is None:
        raise FirmwareError(f"{artifact.directory} does not stream, so it has no C form: {artifact.manifest.streaming.reason}")
    step = make_step(read_graph(artifact.stream))
    names = Names.of(step, name or artifact.directory.resolve().name)
    sound = FrontEnd.of(artifact.manifest.task)
    classes = tuple((artifact.manifest.task or {}).get("classes", ()))
    return Firmware(step, names, classes, None if sound is None else sound.frames)


def package(artifact: Artifact, out: str | os.PathLike[str], name: str | None = None, force: bool = False) -> Firmware:
    """Write the firmware folder of an artifact, whole or not at all.

    Parameters
    ----------
    artifact
        The artifact.
    out
        Folder to make.
    name
        Prefix of the functions; the artifact's name unless given.
    force
        Replace a folder that holds nothing but firmware.

    Raises
    ------
    FirmwareError
        If the artifact has no C form, or the folder is taken or cannot be written.
    """
    if name is not None and c_name(name) != name:
        raise FirmwareError(f"{name!r} cannot be the prefix of C functions: give a name such as {c_name(name)}.")
    firmware = firmware_of(artifact, name)
    publish(Path(out), _files(artifact, firmware), force)
    return firmware


def _files(artifact: Artifact, firmware: Firmware) -> dict[str, str]:
    step, names = firmware.step, firmware.names
    model = names.model
    vectors, count = _vectors(artifact, firmware)
    ports = [*step.inputs, *step.outputs]
    upper = model.upper()

    def size(buffer: Buffer) -> str:
        return f"{upper}_{names.ports[buffer.name].upper()}_SIZE"

    floats = [buffer for buffer in step.outputs if buffer.dtype == np.float32]
    given = [f"{model}_{names.ports[b.name]}_given + block * {size(b)}" for b in step.inputs]
    main = filled(
        "main.c",
        name=model,
        NAME=upper,
        buffers="\n".join(f"static {c_type(b.dtype)} {names.ports[b.name]}[{size(b)}];" for b in step.outputs),
        arguments=", ".join([*given, *(names.ports[b.name] for b in step.outputs)]),
        comparisons="\n".join(
            f"    error = largest({port}, {model}_{port}_expected + block * {size(b)}, {size(b)}, error);"
            for b in floats
            for port in [names.ports[b.name]]
        ),
        limit=f"{LIMIT} * {upper}_VECTORS_SCALE",
    )
    sound = SOUND.replace("@name@", model) if firmware.sound else ""
    ram = struct_bytes(step)
    block = step.signature.block or 1
    emulated = {target: record for target, record in sorted(artifact.manifest.devices.items()) if record.emulator is not None}
    readme = filled(
        "README.md",
        name=model,
        version=artifact.manifest.tool.get("ssm2edge", ""),
        sha256=artifact.manifest.files["stream.onnx"].sha256,
        more=", `memmove`" if firmware.sound else "",
        vectors=count,
        block=f"{block} {'sample' if block == 1 else 'samples'} in: {', '.join(names.ports[b.name] for b in step.inputs)}",
        ports=", ".join(names.ports[b.name] for b in ports),
        sound=sound,
        constants=f"{bytes_of(step.constants):,}",
        ram=f"{ram:,}",
        states=f"{bytes_of(step.states):,}",
        multiply_adds=f"{step.multiply_adds:,}",
        measured="".join(_rows(target, record) for target, record in emulated.items()),
        note=MEASURED if emulated else UNMEASURED,
    )
    return {
        f"{model}.h": write_header(step, names, firmware.classes, firmware.front_end),
        f"{model}.c": write_source(step, names, firmware.classes, firmware.front_end),
        f"{model}_vectors.h": vectors,
        "main.c": main,
        "Makefile": filled("Makefile", name=model),
        "CMakeLists.txt": filled("CMakeLists.txt", name=model),
        "README.md": readme,
    }


def _rows(target: str, record: DeviceRecord) -> str:
    figures = {
        "flash": None if record.flash is None else f"{record.flash:,} bytes",
        "RAM with stack": None if record.ram is None else f"{record.ram:,} bytes",
        "stack": None if record.stack is None else f"{record.stack:,} bytes",
        "instructions of a step": None if record.instructions is None else f"{record.instructions:,}",
    }
    return "".join(f"| {target}: {name} | {value} |\n" for name, value in figures.items() if value is not None)


def reference_blocks(artifact: Artifact, firmware: Firmware, rows: int) -> list[Blocks]:
    """Return the first held-out sequences in blocks."""
    signature = firmware.step.signature
    inputs = artifact.reference.inputs
    count = min(rows, len(next(iter(inputs.values()))))
    block = signature.block or 1
    return [blocks_of({k: v[row : row + 1] for k, v in inputs.items()}, signature.inputs, block) for row in range(count)]


def _vectors(artifact: Artifact, firmware: Firmware) -> tuple[str, int]:
    step, names = firmware.step, firmware.names
    (sequence,) = reference_blocks(artifact, firmware, 1)
    width = sum(buffer.size for buffer in (*step.inputs, *step.outputs))
    count = max(1, min(len(next(iter(sequence.values()))), LARGEST_VECTORS // width))
    sequence = {name: value[:count] for name, value in sequence.items()}
    assert artifact.stream is not None
    (outputs,) = run_stream(artifact.stream, [sequence])
    model = names.model
    scale = max(float(np.abs(value).max()) for value in outputs.values())
    parts = [
        f"#ifndef {model.upper()}_VECTORS_H\n#define {model.upper()}_VECTORS_H\n\n#include <math.h>\n#include <stdint.h>",
        f"#define {model.upper()}_VECTORS {count}\n#define {model.upper()}_VECTORS_SCALE {scale!r}",
    ]
    for buffers, values, kind in ((step.inputs, sequence, "given"), (step.outputs, outputs, "expected")):
        for buffer in buffers:
            if kind == "given" or buffer.dtype == np.float32:
                text = array(c_type(buffer.dtype), f"{model}_{names.ports[buffer.name]}_{kind}", values[buffer.name].ravel())
                parts.append(text)
    return "\n\n".join([*parts, "#endif"]) + "\n", count


SOUND = """
From a microphone, the front end included:

```c
static @name@_sound sound;

@name@_sound_init(&sound);
if (@name@_hear(&sound, samples, count, output)) {
  /* at least one frame was completed: the answers are those after the last one */
}
```

`@name@_init(&sound.stream)` starts a new clip and keeps the window.
"""
MEASURED = "Measured on an emulated processor by `ssm2edge verify --target`, the program's start and the front end included."
UNMEASURED = "`ssm2edge verify DIR --target cortex-m4` measures flash, stack and instructions on an emulated processor."
