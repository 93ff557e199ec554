"""Programs that run recorded blocks through a model, on the host or on a Cortex-M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.firmware.front_end import log_mel
from ssm2edge.firmware.language import c_type
from ssm2edge.firmware.sources import Names, filled, template, write_header, write_source
from ssm2edge.firmware.step import Step

Array = NDArray[Any]
Blocks = Mapping[str, Array]
"""One sequence: by input, ``[blocks, elements of a block]``."""


@dataclass(frozen=True)
class Wire:
    """An array that goes in or comes out at every block: its name in the graph and in C, its element type, its size."""

    name: str
    symbol: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True)
class Program:
    """A program without its platform.

    Attributes
    ----------
    sources
        Names of the C files to compile.
    files
        Text by file.
    inputs, outputs
        In the order of the arguments.
    """

    sources: tuple[str, ...]
    files: Mapping[str, str]
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")

    def write_inputs(self, sequences: Sequence[Blocks], path: Path) -> None:
        """Write sequences as the program reads them."""
        with path.open("wb") as stream:
            for sequence in sequences:
                blocks = len(next(iter(sequence.values())))
                rows = (np.ascontiguousarray(sequence[wire.name], wire.dtype).reshape(blocks, -1) for wire in self.inputs)
                stream.write(np.int32(blocks).tobytes())
                stream.write(np.concatenate([row.view(np.uint8).reshape(blocks, -1) for row in rows], axis=1).tobytes())

    def read_outputs(self, sequences: Sequence[Blocks], path: Path) -> list[dict[str, Array]] | None:
        """Return the outputs of every sequence, ``[blocks, elements]``; None if the program wrote another number of them."""
        content = np.fromfile(path, np.uint8)
        widths = [wire.size * wire.dtype.itemsize for wire in self.outputs]
        counts = [len(next(iter(sequence.values()))) for sequence in sequences]
        if len(content) != sum(counts) * sum(widths):
            return None
        rows, found, start = content.reshape(-1, sum(widths)), [], 0
        for count in counts:
            outputs, first = {}, 0
            for wire, width in zip(self.outputs, widths, strict=True):
                part = np.ascontiguousarray(rows[start : start + count, first : first + width])
                outputs[wire.name] = part.view(wire.dtype).reshape(count, wire.size)
                first += width
            found.append(outputs)
            start += count
        return found


def step_program(step: Step, names: Names) -> Program:
    """Return the program that makes a step of every block."""
    files = {f"{names.model}.h": write_header(step, names), f"{names.model}.c": write_source(step, names)}
    inputs = tuple(Wire(b.name, names.ports[b.name], b.dtype, b.size) for b in step.inputs)
    return _program(names, files, inputs, _outputs(step, names), "stream", "init", "step", "")


def sound_program(step: Step, names: Names, front_end: LogMel) -> Program:
    """Return the program that takes the samples of one hop of a front end as a block."""
    extra = log_mel(front_end, step, names)
    files = {
        f"{names.model}.h": write_header(step, names, (), extra),
        f"{names.model}.c": write_source(step, names, (), extra),
    }
    samples = Wire("samples", "samples", np.dtype(np.int16), front_end.hop)
    return _program(names, files, (samples,), _outputs(step, names), "sound", "sound_init", "hear", f", {front_end.hop}")


def _outputs(step: Step, names: Names) -> tuple[Wire, ...]:
    return tuple(Wire(b.name, names.ports[b.name], b.dtype, b.size) for b in step.outputs)


def _program(
    names: Names,
    files: Mapping[str, str],
    inputs: tuple[Wire, ...],
    outputs: tuple[Wire, ...],
    struct: str,
    init: str,
    function: str,
    more: str,
) -> Program:
    model = names.model
    given, found = (", ".join(f"{wire.symbol}_block" for wire in wires) for wires in (inputs, outputs))
    driver = filled(
        "driver.c",
        name=model,
        struct=f"{model}_{struct}",
        init=f"{model}_{init}",
        call=f"{model}_{function}(&the_stream, {given}{more}, {found})",
        buffers="\n".join(f"static {_kind(w)} {w.symbol}_block[{w.size}];" for w in (*inputs, *outputs)),
        reads="\n".join(f"      if (!platform_read({w.symbol}_block, sizeof {w.symbol}_block)) return 1;" for w in inputs),
        writes="\n".join(f"      platform_write({w.symbol}_block, sizeof {w.symbol}_block);" for w in outputs),
    )
    files = {**files, "driver.c": driver, "platform.h": template("platform.h")}
    return Program((f"{model}.c", "driver.c"), files, inputs, outputs)


def _kind(wire: Wire) -> str:
    return "int16_t" if wire.dtype == np.int16 else c_type(wire.dtype)
