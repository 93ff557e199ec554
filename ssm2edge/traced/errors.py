"""Errors of models that cannot be exported, or cannot stream; each text is one sentence."""

from __future__ import annotations

from ssm2edge.errors import Error


class ExportError(Error):
    """The model cannot be written as ONNX; the message names the operation and the mend."""


class LengthError(ExportError):
    """The model does not hold for every length; the message says why.

    Attributes
    ----------
    place
        Operation and line of the user's code that fix the length; empty where they are not known.
    """

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place = place


class StreamingError(ExportError):
    """The model cannot be computed block by block; the message names the operation and where the user's code calls it."""
