"""Errors of models that cannot be exported, or cannot stream; each text is one sentence."""

from __future__ import annotations

from ssm2edge.errors import Error


class ExportError(Error):
    """The model cannot be written as ONNX; the message names the operation and the mend."""


class StreamingError(ExportError):
    """The model cannot be computed block by block; the message names the operation and where the user's code calls it."""
