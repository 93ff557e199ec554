"""``ssm2edge verify``: every check on an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.extra import import_live
from ssm2edge.cli.opening import open_intact
from ssm2edge.cli.options import LIVE, json_option, threads_option, verbose_option, with_options
from ssm2edge.cli.output import print_json, progress_to_stderr


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@with_options(*LIVE)
@threads_option
@verbose_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    directory: Path,
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
