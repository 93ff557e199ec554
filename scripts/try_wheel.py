"""Build the sdist and the wheel, install the wheel alone into an empty environment, and use an artifact there.

    python scripts/try_wheel.py [build/digits]

The sdist is made from this directory and the wheel from the sdist, so that what either of them lacks is found.  The environment
holds what the wheel itself requires (numpy, onnxruntime, click, rich) and no torch.  In it, importing ``ssm2edge`` must import
nothing heavy, and the command must verify and run the artifact: models/sysid at order 4 unless another one is named, built here.
Exit code 1 with one sentence if anything of this fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "onnx", "onnxruntime", "scipy", "rich")
"""Packages that ``import ssm2edge`` must leave alone."""
BUILDING = (*HEAVY[:2], "onnx-ir", "onnxscript", "scipy", "safetensors", "joblib")
"""Packages that the wheel must not require."""
INPUTS = """
import sys
import numpy as np
from ssm2edge.artifact import load_reference

directory, target = sys.argv[1:]
inputs = load_reference(directory + "/reference.npz").inputs
np.savez(target, **{name: value[:2] for name, value in inputs.items()})
"""
OPENED = """
import sys
import numpy as np
import ssm2edge

directory, inputs = sys.argv[1:]
artifact = ssm2edge.open(directory)
with np.load(inputs) as stored:
    given = {name: stored[name] for name in stored.files}
assert artifact.verify().passed
whole = artifact.run(given)
with artifact.stream(batch=2) as stream:
    assert set(stream.push(given)) == set(whole)
assert "torch" not in sys.modules
"""


def called(command: Iterable[object], place: Path) -> str:
    """Run a command in a directory, without this process's import path, and return what it printed; exit if it fails."""
    words = [str(word) for word in command]
    setting = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=place, env=setting)
    if done.returncode:
        sys.exit(f"`{' '.join(words)}` fails with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def imported(python: Path, statement: str, place: Path) -> set[str]:
    """Return the packages and modules that a statement imports in a fresh interpreter."""
    lines = called([python, "-X", "importtime", "-c", statement], place).splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def package_files(root: Path) -> set[str]:
    """Return the files below ``ssm2edge`` that a user needs, by their path relative to the root."""
    found = (path for path in (root / "ssm2edge").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix() for path in found}


def built(place: Path) -> Path:
    """Build the sdist, and the wheel from it; return the wheel, which holds every file of the package and nothing else."""
    called([sys.executable, "-m", "build", "--outdir", place, ROOT], place)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    differing = sorted(held ^ package_files(ROOT))
    if differing:
        sys.exit(f"{wheel.name} and ssm2edge/ do not hold the same files: {', '.join(differing)}.")
    return wheel


def environment(place: Path, wheel: Path) -> Path:
    """Install a wheel alone into a new environment and return its interpreter."""
    venv.create(place)
    python = place / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    called([*install, wheel, "-c", ROOT / "constraints.txt"], place)
    code = f"import importlib.util; print([name for name in {BUILDING} if importlib.util.find_spec(name)])"
    needless = called([python, "-c", code], place).strip()
    if needless != "[]":
        sys.exit(f"{wheel.name} requires more than it should: {needless}.")
    return python


def sysid(place: Path) -> Path:
    """Build models/sysid with the package of this process and return its artifact."""
    source = ROOT / "models" / "sysid"
    called([sys.executable, "-m", "ssm2edge.cli", "build", source, "--out", place, "--order", "4", "--method", "balanced"], ROOT)
    return place


def try_artifact(python: Path, artifact: Path, place: Path) -> None:
    """Verify and run an artifact by the installed command, on its own held-out inputs; print the verdict."""
    command, directory, inputs = python.with_name("ssm2edge"), artifact.resolve(), place / "inputs.npz"
    called([command, "--help"], place)
    click.echo(called([command, "verify", directory], place).strip().splitlines()[-1])
    called([python, "-c", INPUTS, directory, inputs], place)
    for form in ((), ("--stream",)):
        called([command, "run", directory, "--input", inputs, *form], place)
    called([python, "-c", OPENED, directory, inputs], place)


@click.command()
@click.argument("artifact", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(artifact: Path | None) -> None:
    """Try the wheel on ARTIFACT."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        wheel = built(place)
        click.echo(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB, made from the sdist")
        python = environment(place / "base", wheel)
        heavy = sorted(imported(python, "import ssm2edge", place) & set(HEAVY))
        if heavy:
            sys.exit(f"`import ssm2edge` imports {', '.join(heavy)}.")
        try_artifact(python, artifact or sysid(place / "sysid"), place)
    click.echo("The wheel alone verifies and runs the artifact; importing it imports nothing heavy.")


if __name__ == "__main__":
    main()
