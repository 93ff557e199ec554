"""Faults of making firmware that a user can mend."""

from __future__ import annotations

from ssm2edge.errors import UserError


class FirmwareError(UserError):
    """The artifact has no C form, or a tool that compiles or runs it is missing."""
