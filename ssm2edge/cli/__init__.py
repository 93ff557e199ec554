"""Arguments in, text or JSON out, exit codes.

0: done and passed; 1: a check failed; 2: the input is at fault, with one sentence on stderr; 3: undecided; 130: interrupted.
Text and JSON go to stdout, progress and errors to stderr.  Commands import their modules when they run: `verify`,
`check` and `run` work without torch and without the rest of the build extra.
"""

from __future__ import annotations

from ssm2edge.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
