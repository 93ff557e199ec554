"""``ssm2edge check``: the regression gate."""

from __future__ import annotations

from pathlib import Path

import click

from ssm2edge.cli.opening import open_intact
from ssm2edge.cli.options import json_option, threads_option
from ssm2edge.cli.output import print_json, progress_to_stderr, write_text


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    required=True,
    help="What to compare with: a build directory, or the manifest.json of one from anywhere.",
)
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Limits, as TOML.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Append the report to a file, as for a CI summary.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the report as JUnit XML.")
@threads_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    directory: Path,
    baseline: Path,
    policy_file: Path | None,
    markdown: Path | None,
    junit: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Compare the artifact in DIRECTORY with a baseline: size, cost, error, accuracy, latency.

    Exit code 0 if nothing is worse than the policy allows, 1 if something is, 2 if the input is at fault, 3 if latencies stayed
    undecided.
    """
    from ssm2edge.verification.gate import Policy, compare, open_baseline, read_policy
    from ssm2edge.verification.gate.junit import to_junit
    from ssm2edge.verification.gate.markdown import to_markdown

    policy = Policy() if policy_file is None else read_policy(policy_file)
    with progress_to_stderr("checking", quiet=as_json) as progress:
        report = compare(open_intact(directory), open_baseline(baseline), policy, threads=threads, progress=progress)
    if markdown is not None:
        write_text(markdown, to_markdown(report), append=True)
    if junit is not None:
        write_text(junit, to_junit(report))
    if as_json:
        print_json(report.to_json())
    else:
        from ssm2edge.tables.artifact import wide_console
        from ssm2edge.tables.gate import show_gates

        show_gates(wide_console(), report)
    ctx.exit(report.exit_code)
