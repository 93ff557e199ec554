"""The one error of this room."""

from __future__ import annotations

from ssm2edge.errors import UserError


class ArtifactError(UserError):
    """A build directory cannot be read or written; the text names the file and the mend."""
