"""Built artifacts on old versions of onnxruntime: each in a virtual environment of its own, compared with the newest.

    python scripts/try_onnxruntime_versions.py [build/digits ...] [--json models/digits/results/onnxruntime.json]

Without directories, models/digits and models/sysid are built at order 8, streaming in blocks of 1 and of 16.  Every environment
holds numpy, onnxruntime and this repository's runtime, nothing else; offline.onnx and stream.onnx run on the artifact's own
held-out inputs.  Exit code 1 if a version that was asked for cannot run, or differs from the newest by more than 1e-4 relative.
The oldest version that passed is what the graphs' metadata and the manifest name (``ssm2edge.export.onnx_graph``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
VERSIONS: dict[str, str] = {"1.17.3": "1.26.4", "1.20.1": "1.26.4", "1.24.1": "2.3.5", "1.32.0": "2.4.6"}
"""Versions of onnxruntime, the newest last, each with one of numpy that it was compiled for."""

LARGEST_DIFFERENCE = 1e-4
SAMPLES = 4
RUNNER = """
import sys
import numpy as np
from ssm2edge.runtime import Model, Stream

directory, inputs, target = sys.argv[1:]
with np.load(inputs) as stored:
    feed = {name: stored[name] for name in stored.files}
with Model(directory) as model:
    results = {"offline " + name: value for name, value in model.run(feed).items()}
with Stream(directory, len(next(iter(feed.values())))) as stream:
    parts = [stream.push(feed), stream.flush()]
    for port in stream.outputs:
        pieces = [part[port.name] for part in parts if port.name in part]
        results["stream " + port.name] = pieces[-1] if port.time_axis is None else np.concatenate(pieces, port.time_axis)
np.savez(target, **results)
"""


@dataclass(frozen=True)
class Trial:
    """One version on one artifact: the largest difference from the newest, relative, by graph; or why it did not run."""

    version: str
    artifact: str
    differences: Mapping[str, float]
    failure: str | None

    @property
    def passed(self) -> bool:
        """Whether it ran and agreed."""
        return self.failure is None and all(value <= LARGEST_DIFFERENCE for value in self.differences.values())


def environment(directory: Path, version: str, numpy: str) -> Path:
    """Make a virtual environment and return its interpreter."""
    venv.create(directory)
    python = directory / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    subprocess.run([*install, f"onnxruntime=={version}", f"numpy=={numpy}"], check=True, capture_output=True, text=True)
    return python


def run(python: Path, artifact: Path, inputs: Path, target: Path, program: str = RUNNER) -> str | None:
    """Run both graphs in an environment; None, or the last line of what went wrong."""
    arguments = [str(artifact.resolve()), str(inputs), str(target)]
    setting = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, env=setting)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def differences(tried: Path, newest: Path) -> dict[str, float]:
    """Largest difference of each graph, relative to the largest value."""
    found: dict[str, float] = {}
    with np.load(tried) as one, np.load(newest) as other:
        for name in other.files:
            graph = name.partition(" ")[0]
            difference = float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max())
            found[graph] = max(found.get(graph, 0.0), difference)
    return found


def build_artifacts(directory: Path) -> list[Path]:
    """Build the shipped models."""
    from ssm2edge.loading import open_source
    from ssm2edge.options import Options
    from ssm2edge.pipeline import build

    built = []
    for name in ("digits", "sysid"):
        for block in (1, 16):
            target = directory / f"{name}, blocks of {block}"
            build(
                open_source(str(ROOT / "models" / name)),
                Options(order=8, block=block, calibrate="none"),
                target,
                False,
                lambda *_: None,
            )
            built.append(target)
    return built


def held_out(artifact: Path, target: Path) -> Path:
    """The first held-out inputs of an artifact, in a file of their own."""
    from ssm2edge.artifact import load_reference

    reference = load_reference(artifact / "reference.npz")
    np.savez(target, **{name: value[:SAMPLES] for name, value in reference.inputs.items()})  # type: ignore[arg-type]  # names are free
    return target


def trials(artifacts: Sequence[Path], directory: Path) -> list[Trial]:
    """Run every version on every artifact."""
    newest, found = list(VERSIONS)[-1], []
    inputs = {artifact: held_out(artifact, directory / f"{artifact.name}.inputs.npz") for artifact in artifacts}
    for version in reversed(VERSIONS):
        click.echo(f"onnxruntime {version}", err=True)
        python = environment(directory / version, version, VERSIONS[version])
        for artifact in artifacts:
            target = directory / f"{artifact.name}.{version}.npz"
            failure = run(python, artifact, inputs[artifact], target)
            compared = {} if failure else differences(target, directory / f"{artifact.name}.{newest}.npz")
            found.append(Trial(version, artifact.name, compared, failure))
    return found


def oldest(found: Sequence[Trial]) -> str | None:
    """The oldest version such that it and all newer ones passed everywhere."""
    passed = None
    for version in reversed(VERSIONS):
        if not all(trial.passed for trial in found if trial.version == version):
            break
        passed = version
    return passed


def record(found: Sequence[Trial]) -> dict[str, Any]:
    """The trials as plain values."""
    rows = [
        {"onnxruntime": t.version, "artifact": t.artifact, "differences": dict(t.differences), "failure": t.failure}
        for t in found
    ]
    return {"oldest": oldest(found), "trials": rows}


@click.command()
@click.argument("artifacts", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the trials as JSON.")
def main(artifacts: tuple[Path, ...], target: Path | None) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        found = trials(artifacts or build_artifacts(directory / "built"), directory)
    for trial in found:
        result = trial.failure or ", ".join(f"{graph} {value:.1e}" for graph, value in trial.differences.items())
        click.echo(f"{trial.version:8s} {trial.artifact:24s} {'passed' if trial.passed else 'FAILED'}  {result}")
    click.echo(f"oldest that passed everywhere: {oldest(found) or 'none'}")
    if target is not None:
        target.write_text(json.dumps(record(found), indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(trial.passed for trial in found) else 1)


if __name__ == "__main__":
    main()
