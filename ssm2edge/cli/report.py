"""``ssm2edge report``: the page of an artifact, drawn again."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.errors import UserError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--output", "target", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option(
    "--with",
    "others",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another artifact of the same model: a point of the accuracy-size curve. Can be given several times.",
)
def report(directory: Path, target: Path, others: tuple[Path, ...]) -> None:
    """Draw the report of the artifact in DIRECTORY again, by this version and with others beside it.

    The page that the build wrote is report.html in DIRECTORY.
    """
    from ssm2edge.artifact import load_figures, open_artifact
    from ssm2edge.artifact.figures import NAME
    from ssm2edge.report import render

    artifact = open_artifact(directory)
    beside = [(other.resolve().name, open_artifact(other).manifest) for other in others]
    for name, manifest in beside:
        if not manifest.same_model(artifact.manifest):
            raise UserError(f"{name} is an artifact of another model than {directory}: its layers are others.")
    page = render(artifact.manifest, load_figures(artifact.path(NAME)), artifact.manifest.files, beside)
    if target.resolve().parent == directory.resolve():
        raise UserError(f"{target} lies in the artifact, whose files do not change: choose another place.")
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as fault:
        raise UserError(f"{target} cannot be written ({fault.strerror or fault}).") from fault
    click.echo(f"{target} written.")
