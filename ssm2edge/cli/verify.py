"""``ssm2edge verify``: every check on an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.extra import import_firmware, import_live
from ssm2edge.cli.opening import open_intact
from ssm2edge.cli.options import LIVE, json_option, threads_option, verbose_option, with_options
from ssm2edge.cli.output import print_json, progress_to_stderr

ONNX = "onnx"
TARGETS = ("c", "cortex-m4", "cortex-m33", "web", ONNX)
"""Targets of the C form, and the graphs for other runtimes."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="Verify the C form instead: compiled here (c), for an emulated processor, or as WebAssembly in Node (web); or the "
    "graphs for other runtimes (onnx). The figures go into the manifest.",
)
@click.option(
    "--package",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of device graphs to verify, for onnx.  [default: graphs made anew]",
)
@with_options(*LIVE)
@threads_option
@verbose_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    directory: Path,
    target: str | None,
    folder: Path | None,
    live: bool,
    source: str | None,
    weights: Path | None,
    trust_pickle: bool,
    threads: int,
    verbose: bool,
    as_json: bool,
) -> None:
    """Check the artifact in DIRECTORY: files, parity, streaming, stability, accuracy.

    Exit code 0 if every check passed, 1 if one failed, 2 if there is no whole artifact.
    """
    if folder is not None and target != ONNX:
        raise click.UsageError("--package is a folder of device graphs: it has no meaning without --target onnx.")
    if target == ONNX:
        ctx.exit(0 if verify_device_graphs(directory, folder, as_json) else 1)
    if target is not None:
        ctx.exit(0 if verify_firmware(directory, target, as_json) else 1)
    from ssm2edge.verification import Subject, time_graphs
    from ssm2edge.verification import verify as run_checks

    with progress_to_stderr("verifying", quiet=as_json) as progress:
        artifact = open_intact(directory)
        verdict = run_checks(artifact, threads=threads, progress=progress)
        if live:
            progress("live.original")
            module = import_live()
            original = module.open_original(artifact.manifest, source, weights, trust_pickle)
            verdict = verdict.with_check(module.check_original(original, artifact.reference))
        progress("latency")
        timing = time_graphs(Subject.of(artifact, threads=threads))
    if as_json:
        medians = {name: timing.median(name) for name in timing.seconds}
        print_json({"directory": str(directory), **verdict.to_json(), "latency": {"threads": threads, "medians": medians}})
    else:
        from ssm2edge.tables.artifact import show_verdict, wide_console

        show_verdict(wide_console(), artifact.manifest, verdict, timing, verbose)
    ctx.exit(0 if verdict.passed else 1)


def verify_firmware(directory: Path, target: str, as_json: bool) -> bool:
    """Verify the C form of an artifact, record its figures if it passed, and print them; return True if it passed."""
    from dataclasses import asdict

    from ssm2edge.artifact import record_device

    firmware = import_firmware()
    with progress_to_stderr("verifying", quiet=as_json) as progress:
        artifact = open_intact(directory)
        found = firmware.verify_target(artifact, target, progress)
    if found.verdict.passed:
        record_device(artifact.directory, artifact.manifest, target, found.record)
    if as_json:
        print_json({"directory": str(directory), "target": target, **found.verdict.to_json(), "figures": asdict(found.record)})
    else:
        from ssm2edge.tables.artifact import wide_console
        from ssm2edge.tables.devices import show_device

        show_device(wide_console(), target, found.verdict, found.record)
    return bool(found.verdict.passed)


def verify_device_graphs(directory: Path, folder: Path | None, as_json: bool) -> bool:
    """Verify the graphs for other runtimes, record them if they passed, and print the checks; return True if they passed."""
    from dataclasses import asdict

    from ssm2edge.artifact import record_device_graphs

    firmware = import_firmware()
    with progress_to_stderr("verifying", quiet=as_json) as progress:
        artifact = open_intact(directory)
        found = firmware.verify_graphs(artifact, folder, progress)
    if found.verdict.passed:
        record_device_graphs(artifact.directory, artifact.manifest, found.records)
    if as_json:
        records = {name: asdict(record) for name, record in found.records.items()}
        print_json({"directory": str(directory), "target": ONNX, **found.verdict.to_json(), "device_graphs": records})
    else:
        from ssm2edge.tables.artifact import wide_console
        from ssm2edge.tables.devices import show_checks

        show_checks(wide_console(), found.verdict)
    return bool(found.verdict.passed)
