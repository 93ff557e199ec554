"""The C form of artifacts against their stream.onnx in onnxruntime: differences, and times of a step in one process.

    python scripts/compare_c.py build/keywords build/digits ... [--json docs/devices.json]

Both run the same held-out samples one after the other, 100,000 of them; times are of a bound session and of a loop in C that do
turns of steps in random order.  Exit code 1 if a difference is above 1e-5, or a step in C takes more than a fifth of the time.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware import firmware_of
from ssm2edge.firmware.comparing import largest_error, run_stream
from ssm2edge.firmware.host import FAST
from ssm2edge.firmware.sources import Names, struct_bytes, write_header, write_source
from ssm2edge.firmware.step import Step
from ssm2edge.firmware.tools import STRICT
from ssm2edge.firmware.verifying import HOST, long_stream
from ssm2edge.runtime.block import BoundBlock
from ssm2edge.runtime.graph import Settings, open_graph
from ssm2edge.verification.interval import bootstrap_t

SAMPLES, TURNS, STEPS = 100_000, 60, 1000
LARGEST_ERROR, LARGEST_SHARE = 1e-5, 0.2

LOOP = """
#include "@name@.h"
void run(@name@_stream *self, const char *given, char *found, int steps);
void run(@name@_stream *self, const char *given, char *found, int steps) {
  for (int k = 0; k < steps; ++k) @name@_step(self, @given@, @found@);
}
"""


class CompiledStep:
    """A step as a library in this process, for models of one input and one output of float32."""

    def __init__(self, step: Step, names: Names, folder: Path) -> None:
        name = names.model
        self.given, self.found = step.inputs[0], step.outputs[0]
        given = f"(const float *)given + k * {self.given.size}"
        found = f"(float *)found + k * {self.found.size}"
        loop = LOOP.replace("@name@", name).replace("@given@", given).replace("@found@", found)
        for file, text in {f"{name}.h": write_header(step, names), f"{name}.c": write_source(step, names), "run.c": loop}.items():
            (folder / file).write_text(text, encoding="utf-8")
        command = ["cc", *STRICT, *FAST, "-shared", "-fPIC", f"{name}.c", "run.c", "-lm", "-o", f"{name}.so"]
        subprocess.run(command, cwd=folder, check=True)
        self._library = ctypes.CDLL(str(folder / f"{name}.so"))
        self._stream = ctypes.create_string_buffer(struct_bytes(step))
        self._reset = getattr(self._library, f"{name}_init")
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._reset(self._stream)

    def run(self, samples: np.ndarray) -> np.ndarray:
        """Return the outputs of blocks ``[blocks, elements]``."""
        results = np.zeros((len(samples), self.found.size), np.float32)
        self._library.run(
            self._stream, samples.ctypes.data_as(ctypes.c_void_p), results.ctypes.data_as(ctypes.c_void_p), len(samples)
        )
        return results


def compare(directory: Path) -> dict[str, Any]:
    """Compare one artifact and print a row."""
    artifact = open_artifact(directory)
    firmware = firmware_of(artifact)
    assert artifact.stream is not None
    sequence = long_stream(firmware, artifact.reference, SAMPLES)
    (samples,) = sequence.values()
    samples = np.ascontiguousarray(samples, np.float32)
    (expected,) = run_stream(artifact.stream, [sequence])
    bound = BoundBlock(open_graph(artifact.stream, "stream", Settings()), 1)
    with tempfile.TemporaryDirectory() as folder:
        compiled = CompiledStep(firmware.step, firmware.names, Path(folder))
        error = largest_error([{compiled.found.name: compiled.run(samples)}], [expected])
        ratios, medians = [], {"c": [0.0], "onnxruntime": [0.0]}
        generator = np.random.default_rng(0)
        for turn in range(TURNS):
            part = samples[turn * STEPS % (len(samples) - STEPS) :][:STEPS]
            seconds = {}
            for side in generator.permutation(["c", "onnxruntime"]):
                start = time.perf_counter()
                if side == "c":
                    compiled.run(part)
                else:
                    for sample in part:
                        bound.inputs[0].ravel()[:] = sample
                        bound.advance()
                seconds[side] = (time.perf_counter() - start) / STEPS
                medians[side].append(seconds[side])
            ratios.append(np.log(seconds["c"] / seconds["onnxruntime"]))
    interval = bootstrap_t(np.array(ratios), 0.95)
    ratio, low, high = (float(np.exp(value)) for value in (interval.mean, interval.low, interval.high))
    c, ours = (float(np.median(medians[side][1:])) * 1e6 for side in ("c", "onnxruntime"))
    click.echo(
        f"{directory.name}: difference {error:.2g} over {len(samples):,} samples; a step takes {c:.2f} us in C and {ours:.1f} us "
        f"in onnxruntime, {ratio:.3f} ({low:.3f} to {high:.3f}) of it"
    )
    devices = {target: asdict(record) for target, record in artifact.manifest.devices.items() if target != HOST}
    return {"error": error, "c": c, "onnxruntime": ours, "ratio": [ratio, low, high], "devices": devices}


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to write the figures to.")
def main(directories: tuple[Path, ...], target: Path | None) -> None:
    """Compare artifacts; the figures of their emulated targets, which `ssm2edge verify` recorded, go into the file as well."""
    found = {directory.resolve().name: compare(directory) for directory in directories}
    if target is not None:
        target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(row["error"] <= LARGEST_ERROR and row["ratio"][2] <= LARGEST_SHARE for row in found.values()) else 1)


if __name__ == "__main__":
    main()
