"""The graphs' files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from ssm2edge.artifact import StateRecord, Streaming
from ssm2edge.errors import UserError
from ssm2edge.export import choose_forms, export_offline, export_stream, streaming_module
from ssm2edge.options import Options
from ssm2edge.original.recording import record_outputs
from ssm2edge.stages.load import Loaded, check_labels
from ssm2edge.stages.replace import replace, traced_model
from ssm2edge.traced import ExportError, StreamingError, TracedModel

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


def check_exportable(loaded: Loaded, options: Options) -> None:
    """Run the model on a sample, and trace it with unreduced blocks: what cannot be built is said before anything takes long.

    Raises
    ------
    UserError
        If the model cannot take the samples, or has not the classes of the labels; if it cannot be exported, or cannot stream in
        blocks of the size that is asked for; if its layers have other names than the plans.
    """
    first = {name: value[:1] for name, value in loaded.samples.held_out.items()}
    check_labels(loaded, record_outputs(loaded.model, first, loaded.source.time_axis))
    traced = traced_model(replace(loaded, loaded.systems), loaded)
    try:
        choose_forms(traced, options.plan)
        streaming_module(traced, options.block)
    except StreamingError:
        return  # such a model has a whole-sequence graph, and the manifest says why no other
    except ExportError as error:
        raise UserError(str(error)) from error
    if options.block > loaded.length:
        raise UserError(
            f"The held-out sequences of {loaded.length} samples do not fill one block of {options.block}, so the stream could "
            "not be checked; ask for a smaller block, or give longer sequences."
        )


def export(
    traced: TracedModel, length: int, options: Options, folder: Path, progress: Progress
) -> tuple[Streaming, tuple[StateRecord, ...]]:
    """Write offline.onnx, for sequences of about ``length`` samples, and, where the model can stream, stream.onnx.

    Raises
    ------
    UserError
        If it cannot be exported, or a plan names no layer or no form.
    """
    try:
        choose_forms(traced, options.plan)
        progress("export", 0.3)
        onnx.save(export_offline(traced, length), folder / "offline.onnx")
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
