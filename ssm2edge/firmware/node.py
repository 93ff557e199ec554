"""The C form as WebAssembly, run in Node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssm2edge.firmware.driver import Blocks, step_program
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.host import HostRun
from ssm2edge.firmware.package import Firmware
from ssm2edge.firmware.sources import filled
from ssm2edge.firmware.tools import find_tool, run_tool
from ssm2edge.firmware.web_package import web_files


def run_in_node(firmware: Firmware, sequences: Sequence[Blocks], folder: Path) -> HostRun:
    """Compile the C form to WebAssembly and run sequences through its module in Node.

    Raises
    ------
    FirmwareError
        If clang or Node is missing, or one of them fails.
    """
    node = find_tool(("node", "nodejs"), "install Node")
    program = step_program(firmware.step, firmware.names)
    for name, content in web_files(firmware).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "driver.mjs").write_text(filled("web_driver.mjs", name=firmware.names.model), encoding="utf-8")
    program.write_inputs(sequences, folder / "inputs.bin")
    printed = run_tool([node, "driver.mjs"], folder)
    outputs = program.read_outputs(sequences, folder / "outputs.bin")
    if outputs is None:
        raise FirmwareError("The module wrote another number of outputs than it was given blocks.")
    clang = run_tool([find_tool(("clang",), "install clang"), "--version"], folder).splitlines()[0]
    version = run_tool([node, "--version"], folder).strip()
    return HostRun(outputs, float(printed.split()[-1]), f"{clang}, Node {version}")
