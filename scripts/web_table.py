"""The table of the web folder in docs/devices.md: size of the WebAssembly, difference from stream.onnx, time of a step in Node.

    python scripts/web_table.py build/keywords build/digits ... [--json docs/web.json]

Exit code 1 if a difference over 100,000 samples is above 1e-5.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware import firmware_of
from ssm2edge.firmware.comparing import largest_error, run_stream
from ssm2edge.firmware.driver import Blocks, step_program
from ssm2edge.firmware.node import run_in_node
from ssm2edge.firmware.verifying import LIMIT, LONG, long_stream
from ssm2edge.firmware.web_package import web_files

TURNS, STEPS = 3, 20_000


def measure(directory: Path) -> dict[str, Any]:
    """Measure one artifact and print a row."""
    artifact = open_artifact(directory)
    assert artifact.stream is not None
    firmware = firmware_of(artifact)
    files, program = web_files(artifact, firmware.names.model), step_program(firmware.step, firmware.names)
    sequence = long_stream(firmware, artifact.reference, LONG)

    def run(part: Blocks) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return run_in_node(files, program, [part], Path(folder))

    error = largest_error(run(sequence).outputs, run_stream(artifact.stream, [sequence]))
    part = {name: value[:STEPS] for name, value in sequence.items()}
    seconds = min(run(part).seconds for _ in range(TURNS))
    wasm = files[f"{firmware.names.model}.wasm"]
    assert isinstance(wasm, bytes)
    click.echo(f"{directory.name}: {len(wasm):,} bytes, difference {error:.1e}, {seconds * 1e6:.1f} us a step")
    return {"bytes": len(wasm), "packed": len(gzip.compress(wasm, 9, mtime=0)), "error": error, "seconds": seconds}


def markdown(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table: one row for each model."""
    lines = ["| model | WebAssembly, KB | packed by gzip, KB | largest difference | a step, us |", "| --- " * 5 + "|"]
    for name, row in figures.items():
        sizes = f"{row['bytes'] / 1e3:.0f} | {row['packed'] / 1e3:.0f}"
        lines.append(f"| {name} | {sizes} | {row['error']:.0e} | {row['seconds'] * 1e6:.0f} |")
    return "\n".join(lines)


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to write the figures to.")
def main(directories: tuple[Path, ...], target: Path | None) -> None:
    """Measure the WebAssembly of artifacts."""
    found = {directory.resolve().name: measure(directory) for directory in directories}
    if target is not None:
        target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(row["error"] <= LIMIT for row in found.values()) else 1)


if __name__ == "__main__":
    main()
