"""The command ``ssm2edge`` in the tests' own process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from ssm2edge.cli import main


def call(*arguments: object) -> Result:
    """Run the command with these arguments."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
