"""The root of every error a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: its text is one sentence that names the thing and the mend.

    The command line prints the text on stderr, without a traceback, and leaves with exit code 2.
    """
