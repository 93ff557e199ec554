"""The root of every error a user is meant to read."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """A fault that ends a call of ssm2edge: its text is one sentence that names the thing and the mend."""


class UserError(Error):
    """A mistake the user can mend.

    The command line prints the text on stderr, without a traceback, and leaves with exit code 2.
    """


class VerificationError(Error):
    """An artifact that failed its own checks; it was not published.

    Attributes
    ----------
    verdict
        All checks, as :class:`ssm2edge.verification.Verdict` holds them.
    """

    def __init__(self, text: str, verdict: Any) -> None:
        super().__init__(text)
        self.verdict = verdict
