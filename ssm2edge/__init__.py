"""Compress the linear time-invariant layers of trained deep state-space models and export them to ONNX."""

from __future__ import annotations

__version__ = "0.1.0"
