"""The root of every error a user is meant to read."""

from __future__ import annotations


class Error(Exception):
    """A fault that ends a call of ssm2edge: its text is one sentence that names the thing and the mend."""


class UserError(Error):
    """A mistake the user can mend.

    The command line prints the text on stderr, without a traceback, and leaves with exit code 2.
    """
