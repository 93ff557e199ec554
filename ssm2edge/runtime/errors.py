"""Errors on the device: three kinds with one root; each text is one sentence for people."""

from __future__ import annotations

from ssm2edge.errors import Error


class EdgeError(Error):
    """Root of the errors that this room raises."""


class GraphError(EdgeError):
    """The file is damaged, foreign, of another schema, or not of the kind (offline, stream) that was asked for."""


class InputError(EdgeError):
    """An array has the wrong name, shape or dtype, or a call does not fit the state of the stream."""


class SnapshotError(EdgeError):
    """The bytes are no snapshot, are damaged, or were taken from another model, batch or block."""
