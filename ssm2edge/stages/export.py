"""The graphs' files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from ssm2edge.artifact import StateRecord, Streaming
from ssm2edge.errors import UserError
from ssm2edge.export import ExportError, StreamingError, TracedModel, choose_forms, export_offline, export_stream
from ssm2edge.options import Options

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


def export(traced: TracedModel, options: Options, folder: Path, progress: Progress) -> tuple[Streaming, tuple[StateRecord, ...]]:
    """Write offline.onnx and, where the model can stream, stream.onnx."""
    try:
        choose_forms(traced, options.plan)
        progress("export", 0.3)
        onnx.save(export_offline(traced), folder / "offline.onnx")
        progress("export", 0.6)
        try:
            graph, specifications = export_stream(traced, options.block)
        except StreamingError as error:
            return Streaming(False, None, str(error)), ()
        onnx.save(graph, folder / "stream.onnx")
    except ExportError as error:
        raise UserError(str(error)) from error
    states = tuple(StateRecord(s.input_name, s.output_name, s.shape, 0.0) for s in specifications)
    return Streaming(True, options.block, None), states
