"""What a bound refuses."""

from __future__ import annotations


class BoundError(Exception):
    """A network that the bound cannot be computed for; the message is one sentence for the user."""
