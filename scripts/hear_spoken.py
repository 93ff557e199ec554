"""Recordings of ten digits each, heard by a build of models/spoken: spoken and heard digits, and speed.

    python scripts/train_spoken.py RECORDINGS --prepare-only
    ssm2edge build models/spoken --out build/spoken
    python scripts/hear_spoken.py build/spoken

The recordings are of the customary test part, one of each person; their names say what is spoken.  Each is heard several times,
for the time.  Figures go to models/spoken/results/recordings.json.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click

from ssm2edge.artifact import open_artifact
from ssm2edge.audio.recordings import FrontEnd, listen
from ssm2edge.audio.wav import read_wav

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "spoken"
TRIALS = 5


def hear(build: Path, front_end: FrontEnd, recording: Path) -> dict[str, Any]:
    """Return what was spoken and heard, and the factor to real time, the median of the trials."""
    signal = read_wav(recording)[:, 0]
    trials = [listen(build, front_end, signal, threads=1) for _ in range(TRIALS)]
    heard = "".join(str(answer.index) for answer in trials[0].heard)
    factor = statistics.median(trial.factor for trial in trials)
    return {"spoken": recording.stem.partition("-")[2], "heard": heard, "seconds": trials[0].audio, "factor": factor}


@click.command(help=__doc__)
@click.argument("build", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(build: Path) -> None:
    front_end = FrontEnd.of(open_artifact(build).manifest.task)
    if front_end is None:
        raise click.UsageError(f"{build} has no front end: build models/spoken.")
    recordings = sorted(MODEL_DIRECTORY.glob("*-*.wav"))
    if not recordings:
        raise click.UsageError("There are no recordings yet: python scripts/train_spoken.py RECORDINGS --prepare-only.")
    figures = {recording.stem.partition("-")[0]: hear(build, front_end, recording) for recording in recordings}
    for speaker, figure in figures.items():
        click.echo(f"{speaker:10}  spoken {figure['spoken']}  heard {figure['heard']}  {figure['factor']:.0f} times real time")
    folder = MODEL_DIRECTORY / "results"
    folder.mkdir(exist_ok=True)
    (folder / "recordings.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
