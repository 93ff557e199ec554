"""What runs on the device: numpy and onnxruntime, nothing else, and nothing else of this package."""

from __future__ import annotations

from .errors import EdgeError, GraphError, InputError, SnapshotError
from .graph import Settings
from .model import Model
from .ports import Port
from .stream import Stream

__all__ = ["EdgeError", "GraphError", "InputError", "Model", "Port", "Settings", "SnapshotError", "Stream"]
