"""The C form on an emulated Cortex-M: its answers, its instructions, its stack, its flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssm2edge.firmware.driver import Array, Blocks, Program
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.sources import filled, template
from ssm2edge.firmware.tools import find_tool, run_tool

NANOSECONDS_PER_TICK = 40
"""Of the emulated boards' timers, 25 MHz; the emulator counts an instruction as a nanosecond."""
MEND = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm, or scripts/install_cross_tools.sh"


@dataclass(frozen=True)
class Board:
    """An emulated board with its processor.

    Attributes
    ----------
    machine
        Name of the board in QEMU.
    flags
        Flags of the compiler.
    flash, ram
        First addresses.
    """

    machine: str
    flags: tuple[str, ...]
    flash: int
    ram: int


BOARDS: Mapping[str, Board] = {
    "cortex-m4": Board("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"), 0x00000000, 0x20000000),
    "cortex-m33": Board("mps2-an505", ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16"), 0x10000000, 0x38000000),
}
"""Boards by target."""
FLAGS = ("-mthumb", "-mfloat-abi=hard", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-ffunction-sections", "-fdata-sections")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class CortexRun:
    """Figures of a run on a Cortex-M.

    Attributes
    ----------
    outputs
        Of every sequence, by name.
    flash
        Bytes of code and constants of a program that holds the step, its start included.
    ram
        Bytes of one stream, and of the stack at its deepest.
    stack
        The latter alone, as the paint below the caller shows it.
    instructions
        Of one step, the mean over all.
    compiler, emulator
        Their versions.
    """

    outputs: list[dict[str, Array]]
    flash: int
    ram: int
    stack: int
    instructions: int
    compiler: str
    emulator: str


def run_on_cortex(program: Program, target: str, sequences: Sequence[Blocks], folder: Path) -> CortexRun:
    """Cross-compile a program and run sequences through it under QEMU.

    Parameters
    ----------
    program
        The program.
    target
        A key of `BOARDS`.
    sequences
        Inputs, block by block.
    folder
        Where sources and files go.

    Raises
    ------
    FirmwareError
        If a tool is missing or fails.
    """
    board = BOARDS[target]
    compiler = find_tool(["arm-none-eabi-gcc"], MEND)
    size = find_tool(["arm-none-eabi-size"], MEND)
    emulator = find_tool(["qemu-system-arm"], MEND)
    program.write(folder)
    (folder / "cortex.c").write_text(template("cortex.c"), encoding="utf-8")
    script = filled("cortex.ld", flash=hex(board.flash), ram=hex(board.ram))
    (folder / "cortex.ld").write_text(script, encoding="utf-8")
    sources = [*program.sources, "cortex.c"]
    linked = ["-nostartfiles", "-Wl,--gc-sections", "-Tcortex.ld", "-lm"]
    command = [compiler, *STRICT, *board.flags, *FLAGS]
    run_tool([*command, *sources, *linked, "-o", "program.elf"], folder)
    run_tool([*command, "-DBARE", *sources, *linked, "-o", "bare.elf"], folder)
    text, data, bss = (int(word) for word in run_tool([size, "bare.elf"], folder).splitlines()[1].split()[:3])
    program.write_inputs(sequences, folder / "inputs.bin")
    machine = [
        "-M",
        board.machine,
        "-nographic",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-semihosting-config",
        "enable=on,target=native",
    ]
    run_tool([emulator, *machine, "-icount", "shift=0", "-kernel", "program.elf"], folder)
    outputs, figures = program.read_outputs(sequences, folder / "outputs.bin"), folder / "figures.bin"
    if outputs is None or not figures.exists():
        raise FirmwareError(f"The step did not run to its end on the emulated {target}.")
    low, high, runs, stack = (int(value) for value in np.fromfile(figures, np.uint32))
    ticks = low + (high << 32)
    return CortexRun(
        outputs,
        text + data,
        data + bss + stack,
        stack,
        round(ticks * NANOSECONDS_PER_TICK / runs),
        run_tool([compiler, "-dumpversion"], folder).strip(),
        run_tool([emulator, "--version"], folder).splitlines()[0].split()[3],
    )
