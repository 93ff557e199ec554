"""``ssm2edge bench``: latency, throughput, memory."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.options import LIVE, json_option, with_options
from ssm2edge.cli.output import print_json, progress_to_stderr


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), multiple=True, help="Another artifact of the model; may be repeated.")
@click.option("--sample-rate", type=click.FloatRange(min=0, min_open=True), metavar="HERTZ", help="For the real-time factor.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    multiple=True,
    help="To measure with; may be repeated.  [default: 1 and all]",
)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Most time for one comparison.")
@with_options(*LIVE)
@json_option
def bench(
    directory: Path,
    against: tuple[Path, ...],
    sample_rate: float | None,
    threads: tuple[int, ...],
    seconds: float,
    live: bool,
    source: str | None,
    weights: Path | None,
    trust_pickle: bool,
    as_json: bool,
) -> None:
    """Measure the artifact in DIRECTORY: latency (p50, p90, p99), throughput, memory, load time.

    With --live the original runs as well, in turns with the artifact; this needs torch and the model's code.
    """
    from ssm2edge.artifact import open_artifact
    from ssm2edge.verification import Subject
    from ssm2edge.verification.bench import bench as measure
    from ssm2edge.verification.environment import available_cores

    artifact = open_artifact(directory)
    others = {path.name or str(path): Subject.of(open_artifact(path)) for path in against}
    original = None
    if live:
        from ssm2edge.cli.extra import import_live

        loaded = import_live().open_original(artifact.manifest, source, weights, trust_pickle)
        loaded.check_weights()
        original = loaded.call
    chosen = threads or tuple(sorted({1, available_cores()}))
    with progress_to_stderr("measuring", quiet=as_json) as progress:
        found = measure(
            Subject.of(artifact),
            against=others,
            original=original,
            threads=chosen,
            sample_rate=sample_rate,
            budget=seconds,
            progress=progress,
        )
    if as_json:
        print_json({"directory": str(directory), **found.to_json()})
    else:
        from ssm2edge.tables.artifact import wide_console
        from ssm2edge.tables.bench import show_bench

        show_bench(wide_console(), directory, artifact.manifest, found)
