"""The graphs' files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import onnx

from ssm2edge.artifact import StateRecord, Streaming
from ssm2edge.errors import UserError
from ssm2edge.export import choose_forms, export_offline, export_stream, streaming_module
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.stages.answers import check_answers
from ssm2edge.stages.calibrate import calibration_signals
from ssm2edge.stages.load import check_labels
from ssm2edge.stages.progress import Progress
from ssm2edge.traced import ExportError, StreamingError, TracedModel


@dataclass(frozen=True)
class Graphs:
    """The streaming graph, or the reason why there is none, and its states."""

    streaming: Streaming
    states: tuple[StateRecord, ...]


def check_exportable(task: Task, options: Options) -> tuple[Options, str | None]:
    """Run the model on a sample, and trace it with blocks of full order: faults are found before anything takes long.

    Returns
    -------
    Options
        With a block.
    str or None
        A sentence on the block that was decided, or the length that the model is bound to, and why; None without either.

    Raises
    ------
    UserError
        If the model cannot take the samples, or has not the classes of the labels; if it cannot be exported, or cannot stream in
        blocks of the size that is asked for; if its layers have other names than the plans; if there are too few calibration
        samples.
    """
    check_labels(task, check_answers(task))
    frame, reason = 1, task.span.reason or None
    try:
        choose_forms(task.full_traced, options.plan)
        frame = streaming_module(task.full_traced, options.block).frame
        longest, place = task.full_traced.longest, task.full_traced.place
        if longest is not None and reason is None:
            reason = f"The graphs take no more than {longest} samples{f', because {place} ends there' if place else ''}."
    except StreamingError as error:
        # Such a model has a whole-sequence graph, and the manifest says why no other.
        reason = str(error) if task.full_traced.length is not None else reason
    except ExportError as error:
        raise UserError(str(error)) from error
    else:
        if (options.block or frame) > task.length:
            smaller = "" if options.block is None else "ask for a smaller block, or "
            raise UserError(
                f"The held-out sequences of {task.length} samples do not fill one block of {options.block or frame}, so the "
                f"stream could not be checked; {smaller}give longer sequences."
            )
    if options.calibrate != "none":
        calibration_signals(task, dict.fromkeys(task.layers, 1))
    if options.block is not None:
        return options, reason
    if frame > 1:
        block = (
            f"No block was given: the stream runs in blocks of {frame} samples, at which the rates of time in it meet; "
            "--block says otherwise."
        )
        reason = f"{reason} {block}" if reason else block
    return dataclasses.replace(options, block=frame), reason


def export(traced: TracedModel, length: int, options: Options, folder: Path, progress: Progress) -> Graphs:
    """Write offline.onnx, for sequences of about ``length`` samples, and, where the model can stream, stream.onnx.

    Raises
    ------
    UserError
        If it cannot be exported, or a plan names no layer or no form.
    """
    integers = options.precision != "float32"
    try:
        choose_forms(traced, options.plan)
        progress("export", 0.3)
        onnx.save(export_offline(traced, length, integers), folder / "offline.onnx")
        progress("export", 0.6)
        try:
            block = options.block or streaming_module(traced).frame
            graph, specifications = export_stream(traced, block, integers)
        except StreamingError as error:
            return Graphs(Streaming(False, None, str(error)), ())
        onnx.save(graph, folder / "stream.onnx")
    except ExportError as error:
        raise UserError(str(error)) from error
    states = tuple(StateRecord(s.input_name, s.output_name, s.shape, 0.0) for s in specifications)
    return Graphs(Streaming(True, block, None), states)
