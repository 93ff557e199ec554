"""The folder for the web, run in Node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssm2edge.firmware.driver import Array, Blocks, Program
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.host import HostRun
from ssm2edge.firmware.sources import template
from ssm2edge.firmware.tools import find_tool, run_tool
from ssm2edge.firmware.web_module import FOLDER, MEND

NODE = ("node", "nodejs")
NODE_MEND = "install Node"


def run_in_node(files: Mapping[str, str | bytes], program: Program, sequences: Sequence[Blocks], folder: Path) -> HostRun:
    """Run sequences through the stream of a web folder in Node.

    Parameters
    ----------
    files
        Of the folder.
    program
        The step, with the order of its inputs and outputs.
    sequences
        Inputs, block by block.
    folder
        Where files go.

    Raises
    ------
    FirmwareError
        If Node is missing or fails.
    """
    node = _placed(files, "driver.js", folder)
    program.write_inputs(sequences, folder / "inputs.bin")
    printed = run_tool([node, "driver.js"], folder)
    outputs = program.read_outputs(sequences, folder / "outputs.bin")
    if outputs is None:
        raise FirmwareError("The module wrote another number of outputs than it was given blocks.")
    clang = run_tool([find_tool(("clang",), MEND), "--version"], folder).splitlines()[0]
    version = run_tool([node, "--version"], folder).strip()
    return HostRun(outputs, float(printed.split()[-1]), f"{clang}, Node {version}")


def hear_in_node(files: Mapping[str, str | bytes], program: Program, samples: Array, folder: Path) -> dict[str, Array]:
    """Return the answers to every frame of a sound, ``[frames, elements]`` by output.

    Raises
    ------
    FirmwareError
        If Node is missing or fails.
    """
    node = _placed(files, "sound_driver.js", folder)
    samples.astype(np.float32).tofile(folder / "samples.bin")
    run_tool([node, "sound_driver.js"], folder)
    outputs = folder / "outputs.bin"
    frames = outputs.stat().st_size // sum(wire.size * wire.dtype.itemsize for wire in program.outputs)
    found = program.read_outputs([{program.inputs[0].name: np.zeros((frames, 0))}], outputs)
    if found is None:
        raise FirmwareError("The module wrote no whole number of answers.")
    return found[0]


def _placed(files: Mapping[str, str | bytes], driver: str, folder: Path) -> str:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / driver).write_text(template(driver, FOLDER), encoding="utf-8")
    return find_tool(NODE, NODE_MEND)
