"""Arguments in, text or JSON out, exit codes.

0: done and passed; 1: a check failed; 2: the input is at fault, told in one sentence on stderr; 3: undecided; 130: interrupted.
Text and JSON go to stdout, progress and errors to stderr.  What a command needs is imported when it runs: `verify`,
`check` and `run` work where neither torch nor anything else of the build extra is installed.
"""

from __future__ import annotations

from ssm2edge.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
