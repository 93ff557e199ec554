"""``ssm2edge build``: compress, export, verify, publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ssm2edge import api
from ssm2edge.cli.options import BUILD, SOURCE, json_option, verbose_option, with_options
from ssm2edge.cli.output import print_json, stages_to_stderr
from ssm2edge.errors import VerificationError


@click.command()
@with_options(*SOURCE)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Build directory to make.")
@click.option(
    "--rate", type=click.IntRange(min=1), metavar="HZ", help="Samples a second of recordings that the model takes as they are."
)
@with_options(*BUILD)
@click.option("--force", is_flag=True, help="Replace an artifact that is there already.")
@click.option("--rebuild", is_flag=True, help="Compute everything again, also what earlier builds finished.")
@verbose_option
@json_option
@click.pass_context
def build(ctx: click.Context, /, source: str, verbose: bool, as_json: bool, **given: Any) -> None:
    """Compress the model SOURCE and write a verified artifact.

    SOURCE is a model directory with build.toml, or file.py:function with --samples or --shape.
    If neither an option nor build.toml sets the size, an eighth of the states is kept and matched on the calibration
    samples; without such samples a quarter, matched on synthetic signals.
    Exit code 0 if the artifact was published, 1 if it failed its verification, 2 if the input is at fault.
    """
    try:
        with stages_to_stderr(quiet=as_json) as progress:
            built = api.build(source, progress=progress, **given)
    except VerificationError as failure:
        if as_json:
            print_json({"error": failure.commanded, "exit_code": 1, "verdict": failure.verdict.to_json()})
        click.echo(f"ssm2edge: {failure.commanded}", err=True)
        ctx.exit(1)
    if built.decided is not None:
        click.echo(built.decided, err=True)
    if as_json:
        from ssm2edge.artifact.loss import losses
        from ssm2edge.artifact.manifest import to_json

        found = [
            {"output": loss.output, "metric": loss.metric, "loss": loss.amount, "large": loss.large}
            | ({"mend": loss.mend} if loss.large else {})
            for loss in losses(built.manifest)
        ]
        manifest = json.loads(to_json(built.manifest))
        print_json({"directory": str(built.directory), "seconds": built.seconds, "losses": found, "manifest": manifest})
    else:
        from ssm2edge.tables.artifact import show_built, wide_console

        assert built.verdict is not None
        assert built.seconds is not None
        show_built(wide_console(), built.directory, built.manifest, built.verdict, built.seconds, verbose)
