"""Rounded artifacts against the rounded model in PyTorch: on versions of onnxruntime, as C and as WebAssembly.

    python scripts/integer_parity.py build/digits ... [--python VENV/bin/python ...] [--targets c,web]

Both graphs run the artifact's held-out inputs and are compared with what PyTorch answered; each interpreter named has numpy and
one version of onnxruntime.  The C form and the web module are compared with stream.onnx on all held-out sequences, probes and a
long stream.  Differences are relative to the largest value; exit code 1 if one is above 1e-4.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import onnxruntime
from try_onnxruntime_versions import LARGEST_DIFFERENCE, RUNNER, held_out, run

from ssm2edge.artifact import Artifact, open_artifact
from ssm2edge.errors import Error
from ssm2edge.firmware.verifying import verify_target

WHOLE = RUNNER.partition("with Stream")[0] + "\nnp.savez(target, **results)\n"
"""For artifacts without a stream."""


def of_version(artifact: Artifact, python: Path, folder: Path) -> str:
    """Return the largest difference of each graph from PyTorch's answers, in words."""
    directory, target = artifact.offline.parent, folder / "answers.npz"
    inputs = held_out(directory, folder / "inputs.npz")
    failure = run(python, directory, inputs, target, RUNNER if artifact.stream is not None else WHOLE)
    if failure is not None:
        raise click.ClickException(failure)
    found: dict[str, float] = {}
    with np.load(target) as answers:
        for key in answers.files:
            graph, _, name = key.partition(" ")
            expected = artifact.reference.reduced[name][: len(answers[key])]
            difference = float(np.abs(answers[key] - expected).max() / np.abs(expected).max())
            found[graph] = max(found.get(graph, 0.0), difference)
    return _words(found)


def of_target(artifact: Artifact, target: str) -> str:
    """Return the largest difference of the C form or the web module from stream.onnx, in words; or why there is none."""
    try:
        checks = verify_target(artifact, target).verdict.checks
    except Error as reason:
        return str(reason)
    return _words({check.name.partition(".")[2]: check.figure for check in checks if check.figure is not None})


def _words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}{'' if value <= LARGEST_DIFFERENCE else ' ABOVE 1e-4'}" for name, value in found.items())


@click.command(help=__doc__)
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--python", "others", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--targets", default="c,web", show_default=True, help="Separated by commas.")
def main(artifacts: tuple[Path, ...], others: tuple[Path, ...], targets: str) -> None:
    lines = []
    for path in artifacts:
        artifact = open_artifact(path)
        with tempfile.TemporaryDirectory() as scratch:
            for python in (Path(sys.executable), *others):
                what = f"onnxruntime {onnxruntime.__version__}" if python == Path(sys.executable) else str(python)
                lines.append(f"{path.name}: {what}: {of_version(artifact, python, Path(scratch))}")
                click.echo(lines[-1])
        for target in filter(None, targets.split(",")):
            lines.append(f"{path.name}: {target}: {of_target(artifact, target)}")
            click.echo(lines[-1])
    sys.exit(1 if any("ABOVE" in line for line in lines) else 0)


if __name__ == "__main__":
    main()
