"""``ssm2edge init``: a model directory to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.options import json_option
from ssm2edge.cli.output import print_json


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def init(directory: Path, as_json: bool) -> None:
    """Write a model directory to put your own model in: DIRECTORY, new or empty.

    It builds as it is, with `python make_samples.py` run in it first.
    Exit code 0 if it was written, 2 if DIRECTORY is not empty or cannot be written.
    """
    from ssm2edge.template import write_model_directory

    names = write_model_directory(directory)
    if as_json:
        print_json({"directory": str(directory), "files": names})
    else:
        click.echo(
            f"{directory}: wrote {', '.join(names)}.  Next: python {directory / 'make_samples.py'}; its README.md says more."
        )
