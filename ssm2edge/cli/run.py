"""``ssm2edge run``: an artifact on data from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ssm2edge.cli.options import json_option, threads_option
from ssm2edge.cli.output import finite, print_json, progress_to_stderr
from ssm2edge.errors import UserError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Samples: .npy, .npz or .wav.")
@click.option("--stream", "streaming", is_flag=True, help="Run block by block instead of whole.")
@click.option("--resample", is_flag=True, help="Bring a recording of another rate to the model's.")
@click.option("--output", "target", type=click.Path(path_type=Path), help="Write the outputs: .npy, or .npz for several.")
@threads_option
@json_option
def run(directory: Path, source: Path, streaming: bool, resample: bool, target: Path | None, threads: int, as_json: bool) -> None:
    """Run the artifact in DIRECTORY on samples from a file and print its answer.

    A recording goes through the model's front end, if it has one; --stream prints every word in it with its time.  Without
    --output and --json, --stream prints a line for every answer as soon as it is known.
    """
    from ssm2edge.artifact import open_artifact
    from ssm2edge.audio.recordings import FrontEnd
    from ssm2edge.cli.resampling import Resampling
    from ssm2edge.cli.running_answers import streamed
    from ssm2edge.cli.samples import read_samples
    from ssm2edge.runtime import Model

    manifest = open_artifact(directory).manifest
    task = manifest.task
    is_recording, resampling = source.suffix.lower() == ".wav", Resampling(resample)
    if resample and not is_recording:
        raise UserError(f"{source} is no recording that has a rate: leave --resample out, or give a .wav file.")
    front_end = FrontEnd.of(task) if is_recording else None
    if front_end is not None and streaming:
        if target is not None:
            raise UserError("Words heard in a recording are no arrays: leave --output out, or --stream.")
        tell_words(directory, front_end, front_end.read(source, resampling.at), threads, as_json)
        return
    with progress_to_stderr("running", quiet=as_json), Model(directory, threads=threads) as model:
        if front_end is None:
            samples = read_samples(source, model.inputs, resampling)
        else:
            samples = {model.inputs[0].name: front_end.frames.frames(front_end.read(source, resampling.at))[None]}
        final = {port.name for port in model.outputs if port.time_axis is None}
        outputs = {} if streaming else model.run(samples)
    if streaming:
        show = not as_json and target is None
        outputs, left = streamed(directory, samples, threads, (task or {}).get("classes", ()), show)
        if left and final:
            click.echo(
                f"The last {left} samples fill no block of {manifest.streaming.block}; running answers are without them.",
                err=True,
            )
    if target is not None:
        save_outputs(target, outputs)
    if as_json:
        print_json(
            {
                name: {"shape": list(value.shape), "final": name in final}
                | ({} if target is not None else {"values": finite(value.tolist())})
                | ({"largest": value.argmax(axis=1).tolist()} if name in final and value.ndim == 2 else {})
                for name, value in outputs.items()
            }
        )
    else:
        from ssm2edge.tables.artifact import show_answers, wide_console

        show_answers(wide_console(), outputs, final, (task or {}).get("classes", ()))


def tell_words(directory: Path, front_end: Any, signal: Any, threads: int, as_json: bool) -> None:
    """Print the words of a recording with their times, and the speed relative to real time."""
    from ssm2edge.audio.recordings import listen

    listened = listen(directory, front_end, signal, threads)
    if as_json:
        words = [
            {"word": front_end.name(one.index), "probability": one.probability, "start": one.start, "end": one.end}
            for one in listened.heard
        ]
        seconds = {"audio": listened.audio, "spent": listened.spent, "factor": listened.factor, "threads": threads}
        print_json({"words": words, "seconds": seconds})
        return
    for one in listened.heard:
        click.echo(f"{one.start:6.2f} s to {one.end:6.2f} s   {front_end.name(one.index)}   {one.probability:.2f}")
    click.echo(
        f"{len(listened.heard)} words in {listened.audio:.2f} s of sound, heard in {listened.spent * 1e3:.0f} ms: "
        f"{listened.factor:.0f} times faster than real time, {threads} thread{'s' if threads > 1 else ''}"
    )


def save_outputs(target: Path, outputs: dict[str, Any]) -> None:
    """Write outputs as ``.npy`` (one) or ``.npz`` (any number), whole or not at all."""
    import numpy as np

    if target.suffix.lower() not in (".npy", ".npz"):
        raise UserError(f"{target} is neither .npy nor .npz: name the output file so.")
    if target.suffix.lower() == ".npy" and len(outputs) != 1:
        raise UserError(f"The model has {len(outputs)} outputs ({', '.join(outputs)}): write them to an .npz file.")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            if target.suffix.lower() == ".npy":
                np.save(stream, next(iter(outputs.values())))
            else:
                np.savez(stream, **outputs)
        part.replace(target)
    except OSError as fault:
        raise UserError(f"{target} cannot be written ({fault.strerror or fault}).") from fault
    finally:
        part.unlink(missing_ok=True)
