"""Traced models to ONNX: the whole-sequence graph and the streaming one."""

from __future__ import annotations

from ssm2edge.export.choices import choose_forms
from ssm2edge.export.offline import export_offline
from ssm2edge.export.stream import export_stream, streaming_module

__all__ = ["choose_forms", "export_offline", "export_stream", "streaming_module"]
