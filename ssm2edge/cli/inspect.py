"""``ssm2edge inspect``: the layers of a model, and the cost of each order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ssm2edge import api
from ssm2edge.cli.options import SOURCE, json_option, with_options
from ssm2edge.cli.output import print_json, progress_to_stderr


@click.command()
@with_options(*SOURCE)
@click.option("--plan", "with_plans", is_flag=True, help="Show how the graphs would compute each layer, and by what estimate.")
@json_option
def inspect(source: str, with_plans: bool, as_json: bool, horizon: int | str | None, **given: Any) -> None:
    """Show the LTI layers of the model SOURCE, and the cost of each order."""
    with progress_to_stderr("inspecting", quiet=as_json) as progress:
        found = api.inspect(source, horizon=horizon or "samples", progress=progress, **given)
    if as_json:
        print_json({"source": source, **asdict(found)})
    else:
        from ssm2edge.tables.artifact import wide_console

        console = wide_console()
        found.show(console)
        if with_plans:
            found.show_plans(console)
