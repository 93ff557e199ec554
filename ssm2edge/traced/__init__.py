"""A model as an exported program with symbolic batch and time: traced once, read by bounds and export alike."""

from __future__ import annotations

from ssm2edge.traced.errors import ExportError, LengthError, StreamingError
from ssm2edge.traced.forgetting import forgetting_traces
from ssm2edge.traced.inputs import InputAxes, beginning
from ssm2edge.traced.network import Network
from ssm2edge.traced.program import TracedModel, trace, trace_at

__all__ = [
    "ExportError",
    "InputAxes",
    "LengthError",
    "Network",
    "StreamingError",
    "TracedModel",
    "beginning",
    "forgetting_traces",
    "trace",
    "trace_at",
]
