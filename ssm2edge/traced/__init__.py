"""A model as an exported program with symbolic batch and time: traced once, read by bounds and export alike."""

from __future__ import annotations

from ssm2edge.traced.errors import ExportError, StreamingError
from ssm2edge.traced.inputs import InputAxes, beginning
from ssm2edge.traced.network import Network
from ssm2edge.traced.program import TracedModel, trace

__all__ = ["ExportError", "InputAxes", "Network", "StreamingError", "TracedModel", "beginning", "trace"]
