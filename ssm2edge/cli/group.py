"""The group of commands: faults of the input become one sentence and exit code 2."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, NoReturn

import click

from ssm2edge.cli.output import print_json
from ssm2edge.errors import Error, UserError
from ssm2edge.interrupts import interrupted_once

INTERRUPTED, UNREAD = 130, 141
GOES_ON = {
    "build": ", and the next build goes on from the finished stages",
    "sweep": ", and the next sweep goes on from the finished cells",
}
JSON = "ssm2edge.json"
"""Key under which the context notes a call with --json."""


class Commands(click.Group):
    """A group that reports faults of the input in one sentence, without a traceback, and as JSON to programs."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and note a call with --json."""
        ctx.meta[JSON] = "--json" in args
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn faults into exit codes."""
        try:
            with interrupted_once():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            more = GOES_ON.get(ctx.invoked_subcommand or "", "")
            _tell(ctx, f"interrupted; nothing unfinished was left behind{more}.", INTERRUPTED)
        except BrokenPipeError:
            # Whoever reads the answers has read enough; the verdict of another command was not seen.
            with contextlib.suppress(OSError, ValueError):
                # What is left in the buffer goes nowhere when the interpreter ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0 if ctx.invoked_subcommand == "run" else UNREAD)
        except click.UsageError as fault:
            if ctx.meta.get(JSON):
                print_json({"error": fault.format_message(), "exit_code": fault.exit_code})
            raise
        except Exception as fault:
            if not _is_users(fault):
                raise
            _tell(ctx, fault.commanded if isinstance(fault, Error) else str(fault), 2)


def _tell(ctx: click.Context, sentence: str, code: int) -> NoReturn:
    """Report a fault and exit."""
    if ctx.meta.get(JSON):
        print_json({"error": sentence, "exit_code": code})
    click.echo(f"ssm2edge: {sentence}", err=True)
    ctx.exit(code)


def _is_users(fault: Exception) -> bool:
    if isinstance(fault, UserError):
        return True
    if isinstance(fault, (click.ClickException, click.exceptions.Exit, click.Abort)):
        return False
    from ssm2edge.runtime import EdgeError

    return isinstance(fault, EdgeError)
