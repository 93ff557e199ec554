"""Arguments in, text or JSON out, exit codes.

0: done and passed; 1: a check failed; 2: the input is at fault, told in one sentence on stderr; 130: interrupted.  Text and JSON
go to stdout, progress and errors to stderr.  What a command needs is imported when it runs: `verify` and `run` work where
neither torch nor anything else of the build extra is installed.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ssm2edge.errors import UserError

INTERRUPTED = 130

Progress = Callable[[str], None]


class Commands(click.Group):
    """A group that tells faults of the input in one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn faults into exit codes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("ssm2edge: interrupted; nothing unfinished was left behind.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as fault:
            if not _is_users(fault):
                raise
            click.echo(f"ssm2edge: {fault}", err=True)
            ctx.exit(2)


def _is_users(fault: Exception) -> bool:
    if isinstance(fault, UserError):
        return True
    if isinstance(fault, (click.ClickException, click.exceptions.Exit, click.Abort)):
        return False
    from ssm2edge.runtime import EdgeError

    return isinstance(fault, EdgeError)


@click.group(cls=Commands)
@click.version_option(package_name="ssm2edge")
def main() -> None:
    """Shrink trained state-space models and run them on edge devices."""


source_options = (
    click.argument("source"),
    click.option("--weights", type=click.Path(path_type=Path), help="Weights: .safetensors, or a torch file of plain tensors."),
    click.option("--samples", type=click.Path(path_type=Path), help="Samples: .npz with held_out, calibration, labels."),
    click.option(
        "--time-axis", type=click.IntRange(min=1), help="Position of time in the inputs; the batch is axis 0.  [default: 1]"
    ),
    click.option("--metric", type=click.Choice(["accuracy", "nrmse"]), help="What the labels are judged by."),
    click.option(
        "--horizon",
        callback=lambda _, __, text: horizon_of(text),
        help="Taps on which errors count, or inf.  [default: length of the samples]",
    ),
    click.option("--trust-pickle", is_flag=True, help="Load weights files that can run code."),
)


def with_source(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add SOURCE and the options that describe it to a command."""
    for decorate in reversed(source_options):
        command = decorate(command)
    return command


def horizon_of(text: str | None) -> int | str | None:
    """Read --horizon: a number of taps, inf (None), or nothing ("samples")."""
    if text is None:
        return "samples"
    if text.lower() in ("inf", "infinite", "infinity"):
        return None
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of taps, at least 1, nor inf.", param_hint="--horizon")
    return int(text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of onnxruntime."
)


@main.command()
@with_source
@click.option("--out", "directory", type=click.Path(path_type=Path), required=True, help="Build directory to make.")
@click.option("--order", type=int, help="States to keep per channel.")
@click.option("--keep", type=float, metavar="SHARE", help="Share of all states to keep, distributed over the layers.")
@click.option("--max-error", type=float, metavar="E", help="Smallest model whose relative output error stays below E.")
@click.option(
    "--max-error-of",
    type=click.Choice(["measured", "bound"]),
    help="What stays below E: the error measured on calibration samples, or its bound.  [default: measured]",
)
@click.option(
    "--max-drop", type=float, metavar="POINTS", help="Smallest model whose held-out metric falls by at most so many points."
)
@click.option("--method", help="Reduction method: gradient, tlh2, balanced, ...  [default: gradient]")
@click.option(
    "--calibrate",
    type=click.Choice(["none", "spectrum", "match"]),
    help="Improve the reduced layers on the calibration samples: for the spectrum of what each layer gets, or until the outputs "
    "match the original's.  [default: none]",
)
@click.option("--calibration-steps", type=int, metavar="N", help="Steps of --calibrate match: its budget.  [default: 150]")
@click.option("--seed", type=int, help="Of the random choices of --calibrate match.  [default: 0]")
@click.option("--block", type=int, help="Samples per block of the streaming graph.  [default: 1]")
@click.option("--force", is_flag=True, help="Replace an artifact that is there already.")
@json_option
@click.pass_context
def build(ctx: click.Context, /, source: str, directory: Path, as_json: bool, **given: Any) -> None:
    """Compress the model SOURCE and write a verified artifact.

    SOURCE is a model directory with build.toml, or file.py:function with --samples.
    Exit code 0 if the artifact was published, 1 if it failed its verification, 2 if the input is at fault.
    """
    pipeline = import_pipeline()
    from ssm2edge.loading import open_source
    from ssm2edge.options import options_from

    described = open_source(source, given["weights"], given["samples"], given["time_axis"], given["metric"])
    options = options_from(described, given)
    try:
        with stages_to_stderr(quiet=as_json) as progress:
            built = pipeline.build(described, options, directory, given["force"], progress)
    except pipeline.VerificationError as failure:
        click.echo(f"ssm2edge: {failure}", err=True)
        ctx.exit(1)
    if as_json:
        from ssm2edge.artifact.manifest import to_json

        print_json({"directory": str(directory), "seconds": built.seconds, "manifest": json.loads(to_json(built.manifest))})
    else:
        from ssm2edge.tables import show_built, wide_console

        show_built(wide_console(), directory, built.manifest, built.verdict, built.seconds)


@main.command()
@with_source
@json_option
def inspect(source: str, as_json: bool, **given: Any) -> None:
    """Show the LTI layers of the model SOURCE, and what each order would cost."""
    pipeline = import_pipeline()
    from dataclasses import asdict

    from ssm2edge.loading import open_source

    described = open_source(source, given["weights"], given["samples"], given["time_axis"], given["metric"])
    with progress_to_stderr("inspecting", quiet=as_json) as progress:
        reports = pipeline.inspect(described, given["horizon"], given["trust_pickle"], progress)
    if as_json:
        print_json({"source": source, "layers": [asdict(report) for report in reports]})
    else:
        from ssm2edge.tables import show_layers, wide_console

        show_layers(wide_console(), reports)


def import_pipeline() -> Any:
    """Import what the build extra brings, or say that it is missing."""
    try:
        from ssm2edge import pipeline
    except ModuleNotFoundError as missing:
        raise UserError(
            f"This command needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'."
        ) from missing
    return pipeline


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@threads_option
@json_option
@click.pass_context
def verify(ctx: click.Context, directory: Path, threads: int, as_json: bool) -> None:
    """Check the artifact in DIRECTORY: files, parity, streaming, stability, accuracy.

    Exit code 0 if every check passed, 1 if one failed, 2 if there is no whole artifact.
    """
    from ssm2edge.artifact import open_artifact
    from ssm2edge.verification import Subject, time_graphs
    from ssm2edge.verification import verify as run_checks

    with progress_to_stderr("verifying", quiet=as_json) as progress:
        artifact = open_artifact(directory)
        verdict = run_checks(artifact, threads=threads, progress=progress)
        progress("latency")
        timing = time_graphs(Subject.of(artifact, threads=threads))
    if as_json:
        medians = {name: timing.median(name) for name in timing.seconds}
        print_json({"directory": str(directory), **verdict.to_json(), "latency": {"threads": threads, "medians": medians}})
    else:
        from ssm2edge.tables import show_verdict, wide_console

        show_verdict(wide_console(), artifact.manifest, verdict, timing)
    ctx.exit(0 if verdict.passed else 1)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Samples: .npy, .npz or .wav.")
@click.option("--stream", "streaming", is_flag=True, help="Run block by block instead of whole.")
@click.option("--output", "target", type=click.Path(path_type=Path), help="Write the outputs: .npy, or .npz for several.")
@threads_option
@json_option
def run(directory: Path, source: Path, streaming: bool, target: Path | None, threads: int, as_json: bool) -> None:
    """Run the artifact in DIRECTORY on samples from a file and print its answer."""
    from ssm2edge.artifact import open_artifact
    from ssm2edge.runtime import Model, Stream
    from ssm2edge.sample_files import read_samples

    open_artifact(directory)
    with progress_to_stderr("running", quiet=as_json) as progress:
        with Model(directory, threads=threads) as model:
            samples = read_samples(source, model.inputs)
            final = {port.name for port in model.outputs if port.time_axis is None}
            outputs = {} if streaming else model.run(samples)
        if streaming:
            progress("streaming")
            with Stream(directory, len(next(iter(samples.values()))), threads=threads) as stream:
                parts = [stream.push(samples)]
                left, block = stream.pending, stream.block
                parts.append(stream.flush())
                outputs = joined(parts, {port.name: port.time_axis for port in stream.outputs})
            if left and final:
                click.echo(f"The last {left} samples fill no block of {block}; running answers are without them.", err=True)
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
        from ssm2edge.tables import show_answers, wide_console

        show_answers(wide_console(), outputs, final)


def joined(parts: list[dict[str, Any]], axes: dict[str, int | None]) -> dict[str, Any]:
    """Outputs of several pushes: along time put together, answers the last."""
    import numpy as np

    last = {name: value for part in parts for name, value in part.items()}
    if not last:
        raise UserError("The samples fill no block, so there is no answer yet: give more, or run without --stream.")
    return {
        name: value if axes[name] is None else np.concatenate([part[name] for part in parts], axes[name])
        for name, value in last.items()
    }


def save_outputs(target: Path, outputs: dict[str, Any]) -> None:
    """Write outputs as ``.npy`` (one) or ``.npz`` (any number)."""
    import numpy as np

    if target.suffix.lower() not in (".npy", ".npz"):
        raise UserError(f"{target} is neither .npy nor .npz: name the output file so.")
    if target.suffix.lower() == ".npy" and len(outputs) != 1:
        raise UserError(f"The model has {len(outputs)} outputs ({', '.join(outputs)}): write them to an .npz file.")
    try:
        with target.open("wb") as stream:
            if target.suffix.lower() == ".npy":
                np.save(stream, next(iter(outputs.values())))
            else:
                np.savez(stream, **outputs)
    except OSError as fault:
        raise UserError(f"{target} cannot be written ({fault.strerror or fault}).") from fault


def print_json(value: Any) -> None:
    """Print one JSON value; every number in it must be finite."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Nested lists with None in place of numbers that JSON has no word for."""
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def stages_to_stderr(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A call that shows the stages of a build, each with its bar, on stderr; nothing if ``quiet``."""
    if quiet:
        yield lambda stage, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    console = Console(stderr=True)
    # Bars are for people who watch them: in a log they would only stand between the user and the one sentence of an error.
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        running: dict[str, Any] = {}

        def show(stage: str, share: float) -> None:
            name = stage.split(maxsplit=1)[0]
            if name not in running:
                for task in running.values():
                    bars.update(task, total=1.0, completed=1.0)
                running[name] = bars.add_task(stage, total=1.0 if share > 0 else None)
            bars.update(running[name], description=stage, total=1.0 if share > 0 else None, completed=share)

        yield show
        for task in running.values():
            bars.update(task, total=1.0, completed=1.0)


@contextlib.contextmanager
def progress_to_stderr(title: str, quiet: bool) -> Iterator[Progress]:
    """A call that shows what is being done, on stderr where it is a terminal; nothing if ``quiet``."""
    if quiet:
        yield lambda step: None
        return
    from rich.console import Console

    with Console(stderr=True).status(title) as status:
        yield lambda step: status.update(f"{title}: {step}")


if __name__ == "__main__":
    main()
