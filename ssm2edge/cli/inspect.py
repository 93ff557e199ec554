"""``ssm2edge inspect``: the layers of a model, and what each order would cost."""

from __future__ import annotations

from typing import Any

import click

from ssm2edge.cli.extra import import_pipeline
from ssm2edge.cli.options import SOURCE, json_option, opened, with_options
from ssm2edge.cli.output import print_json, progress_to_stderr


@click.command()
@with_options(*SOURCE)
@click.option("--plan", "with_plans", is_flag=True, help="Show how the graphs would compute each layer, and by what estimate.")
@json_option
def inspect(source: str, with_plans: bool, as_json: bool, **given: Any) -> None:
    """Show the LTI layers of the model SOURCE, and what each order would cost."""
    pipeline = import_pipeline()
    from dataclasses import asdict

    with progress_to_stderr("inspecting", quiet=as_json) as progress:
        found = pipeline.inspect(opened(source, given), given["horizon"] or "samples", progress)
    if as_json:
        print_json({"source": source, **asdict(found)})
    else:
        from ssm2edge.tables.artifact import show_layers, show_plans, wide_console

        show_layers(wide_console(), found.layers, found.kept_layers)
        if with_plans:
            show_plans(wide_console(), found.layers)
