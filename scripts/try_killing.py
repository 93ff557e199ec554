"""Kill builds at random moments and print what was left, and whether the next build gives the same bytes.

    python scripts/try_killing.py --trials 30

Every trial has a place of its own: a build is killed there (SIGKILL) at a random moment of an undisturbed build's time, the place
must hold a whole artifact or none, and the next build must end with the files of the undisturbed one.  Latencies are measured
anew by every build: they, and the report that shows them, are not compared.  Builds are forked from a process that has imported
everything, so that all of their time is the build's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ssm2edge.artifact import ArtifactError, open_artifact
from ssm2edge.cache import FOLDER
from ssm2edge.loading import open_source
from ssm2edge.options import options_from
from ssm2edge.pipeline import build

MEASURED = {"latency", "original", "profile", "files", "seal"}
"""Keys of the manifest that two builds of the same do not share."""


def start(source: str, given: dict[str, Any], place: Path) -> tuple[int, Path]:
    """Fork a build; the file has the stages it came to, one a line."""
    log = place.with_suffix(".log")
    process = os.fork()
    if process:
        return process, log
    code = 1
    try:
        with log.open("w", buffering=1) as stages:
            described = open_source(source)
            build(described, options_from(described.defaults, given), place, True, lambda stage, share: print(stage, file=stages))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def contents(place: Path) -> dict[str, Any]:
    """What of an artifact must be the same: graphs, reference, and the manifest but for what is measured."""
    artifact = open_artifact(place)
    manifest = json.loads((place / "manifest.json").read_text())
    plain = {key: value for key, value in manifest.items() if key not in MEASURED}
    graphs = {name: (place / name).read_bytes() for name in artifact.manifest.files if not name.startswith("report.")}
    return {"manifest": plain, **graphs}


@click.command()
@click.option("--trials", default=30, show_default=True)
@click.option("--source", default="models/sysid", show_default=True)
@click.option("--order", default=8, show_default=True)
@click.option("--method", default="balanced", show_default=True)
@click.option("--calibrate", default="spectrum", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(trials: int, source: str, seed: int, **given: Any) -> None:
    """Try it."""
    generator = random.Random(seed)
    faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "undisturbed").mkdir()
        begin = time.monotonic()
        process, _ = start(source, given, home / "undisturbed" / "build")
        if os.waitpid(process, 0)[1] != 0:
            sys.exit("The undisturbed build failed.")
        seconds = time.monotonic() - begin
        expected = contents(home / "undisturbed" / "build")
        print(f"undisturbed build: {seconds:.1f} s\n")
        print("| trial | killed after | in stage | left at the place | stages kept | next build | its bytes |")
        print("|---|---|---|---|---|---|---|")
        outcomes: Counter[str] = Counter()
        for trial in range(trials):
            place = home / str(trial) / "build"
            moment = generator.uniform(0.0, 1.05 * seconds)
            place.parent.mkdir()
            process, log = start(source, given, place)
            time.sleep(moment)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            stages = log.read_text().splitlines() if log.exists() else []
            try:
                left = "a whole artifact" if place.exists() and open_artifact(place) else "nothing"
            except ArtifactError as fault:
                left, faults = f"BROKEN: {fault}", faults + 1
            kept = len(list((place.parent / FOLDER).glob("*.safetensors")))
            begin = time.monotonic()
            process, _ = start(source, given, place)
            whole = os.waitpid(process, 0)[1] == 0
            again = time.monotonic() - begin
            same = whole and contents(place) == expected
            beside = {path.name for path in place.parent.iterdir()} - {place.name, log.name, FOLDER}
            faults += not same or bool(beside)
            outcomes[left] += 1
            verdict = "the same" if same and not beside else f"DIFFERENT {beside or ''}"
            stage = stages[-1] if stages else "start"
            print(f"| {trial + 1} | {moment:.2f} s | {stage} | {left} | {kept} | {again:.1f} s | {verdict} |", flush=True)
            shutil.rmtree(place.parent)
    print(f"\n{trials} builds killed: " + ", ".join(f"{left} {count}" for left, count in outcomes.items()) + f"; {faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
