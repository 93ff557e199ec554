"""Costs of a choice of orders on the device: its graphs, written and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Reference
from ssm2edge.options import Options
from ssm2edge.orders.judging import as_reduced
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.stages.export import export
from ssm2edge.stages.progress import silent
from ssm2edge.stages.quantise import round_network
from ssm2edge.verification import Subject
from ssm2edge.verification.budget import largest_graph, step_microseconds


def cost_of(task: Task, options: Options) -> Callable[[Mapping[str, Reduction]], float] | None:
    """Return what measures reductions: bytes of the largest graph, or microseconds of a step; None if nothing limits these."""
    if options.max_bytes is None and options.max_latency is None:
        return None

    def cost(reductions: Mapping[str, Reduction]) -> float:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            model = task.replaced(as_reduced(reductions))
            round_network(model, options)
            export(task.traced(model), task.length, options, folder, silent)
            # Inputs to time the graphs on; nobody looks at the answers.
            none = {name: np.zeros((1, 1), np.float32) for name in task.outputs}
            subject = Subject.staged(folder, Reference(task.first, none, none, {}), {})
            return float(largest_graph(subject)[1]) if options.max_bytes is not None else step_microseconds(subject)

    return cost
