"""Costs of a choice of orders on the device: its graphs, written and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Reference
from ssm2edge.errors import UserError
from ssm2edge.options import Options, bytes_of
from ssm2edge.orders.judging import as_reduced
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.stages.export import export
from ssm2edge.stages.progress import silent
from ssm2edge.stages.quantise import round_network
from ssm2edge.verification import Subject
from ssm2edge.verification.budget import largest_graph, step_microseconds
from ssm2edge.verification.check import Check, within


def ram_of(folder: Path, task: Task) -> int:
    """Return the bytes of RAM of the stream in a folder, as C.

    Raises
    ------
    UserError
        If the model does not stream, or has no C form.
    """
    stream = folder / "stream.onnx"
    if not stream.exists():
        raise UserError("A largest RAM is that of the stream as C, but this model does not stream; ask for --max-bytes.")
    # The emitter is not needed by other builds.
    from ssm2edge.firmware.ram import ram_of as of_stream

    return of_stream(stream, task.source.task)


def ram(folder: Path, task: Task, options: Options) -> Check | None:
    """Check the bytes of RAM against the limit that chose the size."""
    limit = bytes_of(options.max_ram)
    if limit is None:
        return None
    return within("budget.ram", float(ram_of(folder, task)), float(limit), "bytes of RAM of the stream as C, its stack included")


def cost_of(task: Task, options: Options) -> Callable[[Mapping[str, Reduction]], float] | None:
    """Return what measures reductions: bytes of the largest graph or of RAM, or microseconds of a step; None without limit."""
    if options.max_bytes is None and options.max_ram is None and options.max_latency is None:
        return None

    def cost(reductions: Mapping[str, Reduction]) -> float:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            model = task.replaced(as_reduced(reductions))
            round_network(model, task, options)
            export(task.traced(model), task.length, options, folder, silent)
            if options.max_ram is not None:
                return float(ram_of(folder, task))
            # Inputs to time the graphs on; nobody looks at the answers.
            none = {name: np.zeros((1, 1), np.float32) for name in task.outputs}
            subject = Subject.staged(folder, Reference(task.first, none, none, {}), {})
            return float(largest_graph(subject)[1]) if options.max_bytes is not None else step_microseconds(subject)

    return cost
