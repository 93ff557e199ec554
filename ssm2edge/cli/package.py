"""``ssm2edge package``: the artifact as source code for a device."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.extra import import_firmware


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(["c"]), default="c", show_default=True, help="Form of the package: C99 sources.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option("--name", help="Prefix of all functions.  [default: the name of DIRECTORY]")
@click.option("--force", is_flag=True, help="Replace a package that is there already.")
def package(directory: Path, target: str, out: Path, name: str | None, force: bool) -> None:
    """Write the streaming graph in DIRECTORY as source code for a device, without a heap and without an operating system.

    The folder holds a header and a source, build files, an example, test vectors, and a page with the sizes.
    """
    from ssm2edge.artifact import open_artifact

    firmware = import_firmware().package(open_artifact(directory), out, name, force)
    click.echo(f"{out}: {firmware.names.model}.h and {firmware.names.model}.c; `make check` there compiles and tests them.")
