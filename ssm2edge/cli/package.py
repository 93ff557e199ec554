"""``ssm2edge package``: the artifact as source code, or as a graph for other runtimes."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ssm2edge.cli.extra import import_firmware


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--target",
    type=click.Choice(["c", "onnx", "web"]),
    default="c",
    show_default=True,
    help="C99 sources, graphs for other runtimes than onnxruntime, or a folder for browsers and Node.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option("--name", help="Prefix of all functions.  [default: the name of DIRECTORY]")
@click.option("--length", type=int, help="Samples of a whole sequence, for onnx.  [default: those of the held-out sequences]")
@click.option("--force", is_flag=True, help="Replace a package that is there already.")
def package(directory: Path, target: str, out: Path, name: str | None, length: int | None, force: bool) -> None:
    """Write the graphs in DIRECTORY for a device.

    c: source code without a heap and without an operating system, with build files, an example, test vectors and a page with the
    sizes.  onnx: graphs of one stream and of one whole sequence that other runtimes read, and their ports as JSON.  web: a folder
    for browsers and Node with the C form as WebAssembly, and a page that shows it at work; needs clang.
    """
    from ssm2edge.artifact import open_artifact

    if target == "onnx":
        if name is not None:
            raise click.UsageError("--name is the prefix of C functions: it has no meaning with --target onnx.")
        errors = import_firmware().package_onnx(open_artifact(directory), out, force, length)
        written = ", ".join(f"{file} ({error:.0e} off its original on held-out sequences)" for file, error in errors.items())
        click.echo(f"{out}: ports.json, {written}.")
        return
    if length is not None:
        raise click.UsageError("--length is that of a whole sequence: it has no meaning without --target onnx.")
    if target == "web":
        found = import_firmware().package_web(open_artifact(directory), out, name, force)
        engine = "onnxruntime-web, which you bring" if found.wasm is None else f"{found.wasm / 1e3:.0f} KB of WebAssembly"
        served = f"python3 -m http.server -d {shlex.quote(str(out))}"
        click.echo(f"{out}: a module for browsers and Node, with {engine}; for its page: {served}")
        return
    firmware = import_firmware().package(open_artifact(directory), out, name, force)
    click.echo(f"{out}: {firmware.names.model}.h and {firmware.names.model}.c; `make check` there compiles and tests them.")
