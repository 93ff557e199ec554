"""The C form compiled and run on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssm2edge.firmware.driver import Array, Blocks, Program
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.sources import filled
from ssm2edge.firmware.tools import STRICT, find_tool, run_tool

FAST = ("-O3", "-march=native", "-ffp-contract=fast")
"""Flags of a step that is timed."""
SANE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Flags under which every read and write beyond an array, and everything that C leaves undefined, ends the program."""
COMPILERS = ("cc", "gcc", "clang")
MEND = "install a C compiler"


@dataclass(frozen=True)
class HostRun:
    """Figures of a run on this machine.

    Attributes
    ----------
    outputs
        Of every sequence, by name.
    seconds
        Of one block, the best of five runs; None where none was timed.
    compiler
        The first line of its version.
    """

    outputs: list[dict[str, Array]]
    seconds: float | None
    compiler: str


def run_on_host(
    program: Program,
    sequences: Sequence[Blocks],
    folder: Path,
    flags: Sequence[str] = FAST,
    turns: int = 0,
    compilers: Sequence[str] = COMPILERS,
    emulator: Sequence[str] = (),
) -> HostRun:
    """Compile a program with the C compiler of this machine and run sequences through it.

    Parameters
    ----------
    program
        The program.
    sequences
        Inputs, block by block.
    folder
        Where sources and files go.
    flags
        Flags of the compiler, beside those for strict C99.
    turns
        Blocks of a timed run; none without.
    compilers
        Names of compilers, of which the first that is installed is used.
    emulator
        Command in front of the program's.

    Raises
    ------
    FirmwareError
        If there is no compiler, or it or the program fails.
    """
    compiler = find_tool(compilers, MEND)
    program.write(folder)
    (folder / "host.c").write_text(filled("host.c", turns=max(1, turns)), encoding="utf-8")
    run_tool([compiler, *STRICT, *flags, *program.sources, "host.c", "-lm", "-o", "program"], folder)
    program.write_inputs(sequences, folder / "inputs.bin")
    printed = run_tool([*emulator, "./program"], folder)
    outputs = program.read_outputs(sequences, folder / "outputs.bin")
    if outputs is None:
        raise FirmwareError("The compiled step wrote another number of outputs than it was given blocks.")
    version = run_tool([compiler, "--version"], folder).splitlines()[0]
    return HostRun(outputs, float(printed.split()[-1]) if turns else None, version)
