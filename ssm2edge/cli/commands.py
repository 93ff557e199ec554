"""All commands under one name.  A command is one file in this room and one name in `COMMANDS`."""

from __future__ import annotations

import click

from ssm2edge.cli.bench import bench
from ssm2edge.cli.build import build
from ssm2edge.cli.check import check
from ssm2edge.cli.group import Commands
from ssm2edge.cli.init import init
from ssm2edge.cli.inspect import inspect
from ssm2edge.cli.package import package
from ssm2edge.cli.report import report
from ssm2edge.cli.run import run
from ssm2edge.cli.sweep import sweep
from ssm2edge.cli.verify import verify

COMMANDS = (
    init,
    inspect,
    build,
    sweep,
    verify,
    bench,
    check,
    run,
    package,
    report,
)


@click.group(cls=Commands)
@click.version_option(package_name="ssm2edge")
def main() -> None:
    """Shrink trained state-space models and run them on edge devices."""


for command in COMMANDS:
    main.add_command(command)
