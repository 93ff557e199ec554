"""The group of commands: faults of the input become one sentence and exit code 2."""

from __future__ import annotations

from typing import Any

import click

from ssm2edge.errors import UserError

INTERRUPTED = 130


class Commands(click.Group):
    """A group that tells faults of the input in one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn faults into exit codes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "ssm2edge: interrupted; nothing unfinished was left behind, and the next build goes on from the finished stages.",
                err=True,
            )
            ctx.exit(INTERRUPTED)
        except Exception as fault:
            if not _is_users(fault):
                raise
            click.echo(f"ssm2edge: {fault}", err=True)
            ctx.exit(2)


def _is_users(fault: Exception) -> bool:
    if isinstance(fault, UserError):
        return True
    if isinstance(fault, (click.ClickException, click.exceptions.Exit, click.Abort)):
        return False
    from ssm2edge.runtime import EdgeError

    return isinstance(fault, EdgeError)
