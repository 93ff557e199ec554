"""The command ``ssm2edge`` in the tests' own process."""

from __future__ import annotations

import re

from click.testing import CliRunner, Result

from ssm2edge.cli import main


def call(*arguments: object) -> Result:
    """Run the command with these arguments."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


STAGE = re.compile(r"^ *\d+\.\d s  ([a-z]+)\n", re.MULTILINE)
"""A line of a build that begins a stage."""


def stages(result: Result) -> list[str]:
    """The stages whose lines a build wrote."""
    return STAGE.findall(result.stderr)


def said(result: Result) -> str:
    """Return the text of a build on stderr beside the lines of its stages."""
    return STAGE.sub("", result.stderr)
