"""The error of networks without a bound."""

from __future__ import annotations

from ssm2edge.errors import Error


class BoundError(Error):
    """A network that the bound cannot be computed for; the message is one sentence for the user."""
