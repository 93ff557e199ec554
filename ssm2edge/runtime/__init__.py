"""Artifacts on the device, with numpy and onnxruntime alone; imports nothing else of this package."""

from __future__ import annotations

from ssm2edge.runtime.errors import EdgeError, GraphError, InputError, SnapshotError
from ssm2edge.runtime.graph import Settings
from ssm2edge.runtime.model import Model
from ssm2edge.runtime.ports import Port
from ssm2edge.runtime.stream import Stream

__all__ = [
    "EdgeError",
    "GraphError",
    "InputError",
    "Model",
    "Port",
    "Settings",
    "SnapshotError",
    "Stream",
]
