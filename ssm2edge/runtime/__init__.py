"""What runs on the device: numpy and onnxruntime, nothing else, and nothing else of this package."""

from __future__ import annotations

from ssm2edge.runtime.errors import EdgeError, GraphError, InputError, SnapshotError
from ssm2edge.runtime.graph import Settings
from ssm2edge.runtime.layer import Layer
from ssm2edge.runtime.listening import Gate, Heard, Listener
from ssm2edge.runtime.log_mel import LogMel, LogMelStream
from ssm2edge.runtime.model import Model
from ssm2edge.runtime.ports import Port
from ssm2edge.runtime.stream import Stream

__all__ = [
    "EdgeError",
    "Gate",
    "GraphError",
    "Heard",
    "InputError",
    "Layer",
    "Listener",
    "LogMel",
    "LogMelStream",
    "Model",
    "Port",
    "Settings",
    "SnapshotError",
    "Stream",
]
