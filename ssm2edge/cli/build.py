"""``ssm2edge build``: compress, export, verify, publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ssm2edge.cli.extra import import_pipeline
from ssm2edge.cli.options import json_option, plan_of, with_source
from ssm2edge.cli.output import print_json, stages_to_stderr


@click.command()
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
@click.option(
    "--feedthrough",
    type=click.Choice(["fitting", "own", "full"]),
    help="What S5 and LRU layers hold beside their states: what they have (own), a full matrix for lag 0 exactly (full), or the "
    "matrix where the layer is no larger with it than it was.  [default: fitting]",
)
@click.option("--block", type=int, help="Samples per block of the streaming graph.  [default: 1]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where the original runs for its reference.  [default: cpu]")
@click.option(
    "--plan",
    multiple=True,
    metavar="LAYER=FORM",
    callback=lambda _, __, texts: plan_of(texts),
    help="Kernel of a layer (* for any): sequence:T for whole sequences, elementwise[:T], chunked[:T] or unrolled for blocks; "
    "two with a + between.  [default: the cheapest; see inspect --plan]",
)
@click.option("--force", is_flag=True, help="Replace an artifact that is there already.")
@click.option("--rebuild", is_flag=True, help="Compute everything again, also what earlier builds finished.")
@json_option
@click.pass_context
def build(ctx: click.Context, /, source: str, directory: Path, as_json: bool, **given: Any) -> None:
    """Compress the model SOURCE and write a verified artifact.

    SOURCE is a model directory with build.toml, or file.py:function with --samples.
    Where neither an option nor build.toml says how small it becomes, an eighth of the states is kept and matched on the
    calibration samples; without such samples, half of the states.
    Exit code 0 if the artifact was published, 1 if it failed its verification, 2 if the input is at fault.
    """
    pipeline = import_pipeline()
    from ssm2edge.loading import open_source
    from ssm2edge.options import options_from

    described = open_source(source, given["weights"], given["samples"], given["time_axis"], given["metric"], given["lti"])
    options = options_from(described, given)
    try:
        with stages_to_stderr(quiet=as_json) as progress:
            built = pipeline.build(described, options, directory, given["force"], progress, given["rebuild"])
    except pipeline.VerificationError as failure:
        if as_json:
            print_json({"error": str(failure), "exit_code": 1, "verdict": failure.verdict.to_json()})
        click.echo(f"ssm2edge: {failure}", err=True)
        ctx.exit(1)
    if built.decided is not None:
        click.echo(f"{built.decided}  --order, --keep, --max-error, --max-drop and --calibrate say otherwise.", err=True)
    if as_json:
        from ssm2edge.artifact.manifest import to_json

        print_json({"directory": str(directory), "seconds": built.seconds, "manifest": json.loads(to_json(built.manifest))})
    else:
        from ssm2edge.tables.artifact import show_built, wide_console

        show_built(wide_console(), directory, built.manifest, built.verdict, built.seconds)
