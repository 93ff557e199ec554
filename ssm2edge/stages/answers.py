"""Answers that no graph can repeat: those that change from run to run, and those that depend on the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ssm2edge.errors import UserError
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.traced.draws import first_draw
from ssm2edge.verification.check import relative_error

LIMIT = 1e-3
"""Largest relative difference between two runs: batches of other sizes are summed in other orders."""
ROWS = 2


def check_answers(task: Task) -> Mapping[str, NDArray[np.float32]]:
    """Return the model's answer to one sample, after a look at whether it is an answer to that sample alone.

    Raises
    ------
    UserError
        If the answer changes from run to run, or with the other rows of the batch.
    """
    alone = record_outputs(task.model, task.first, task.time_axis)
    several: dict[str, NDArray[Any]] = {name: value[:ROWS] for name, value in task.held_out.items()}
    first = {name: value[:1] for name, value in record_outputs(task.model, several, task.time_axis).items()}
    apart = relative_error(first, alone)
    if apart <= LIMIT:
        return alone
    again = relative_error(record_outputs(task.model, task.first, task.time_axis), alone)
    if not again <= LIMIT:
        place = first_draw(lambda: record_outputs(task.model, task.first, task.time_axis))
        cause = (
            f"{place}, which draws random numbers"
            if place
            else "dropout that is on in eval mode, noise, or a state that it keeps"
        )
        raise UserError(
            f"The model's answer to one sample changes from run to run (by {again:.2g}, relative); take what does so out of its "
            f"forward: {cause}."
        )
    named = "".join(f" in {name} ({type(module).__name__})" for name, module in _normalising(task.model)[:1])
    raise UserError(
        f"The model's answer to a sample depends on the other samples of its batch (by {apart:.2g}, relative); normalise by "
        f"stored statistics{named}, and answer every row by itself."
    )


def _normalising(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that normalise by the statistics of the batch at hand."""
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [(name, module) for name, module in norms if module.training or module.running_mean is None]
