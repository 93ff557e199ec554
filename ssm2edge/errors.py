"""The root of every error a user is meant to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Error(Exception):
    """A fault that ends a call of ssm2edge: its text is one sentence that names the thing and the mend.

    Sentences are written with the options of the command line, such as ``--calibrate none``.  What the functions of the package
    raise names their arguments instead; the command line prints `commanded`.
    """

    _commanded: str | None = None

    @property
    def commanded(self) -> str:
        """The text with options as the command line takes them."""
        return self._commanded or str(self)

    def name_arguments(self, named: Callable[[str], str]) -> None:
        """Let the text name arguments, which a function makes of it, in place of options."""
        if self._commanded is None and self.args and isinstance(self.args[0], str):
            self._commanded, self.args = self.args[0], (named(self.args[0]), *self.args[1:])


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
