"""The model with reduced blocks in its layers' places, as it will be exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.bounds import bound_record
from ssm2edge.layers import blocks
from ssm2edge.options import Options
from ssm2edge.orders.judging import BOUND_STEPS
from ssm2edge.original.recording import first_samples, record_outputs
from ssm2edge.original.task import Task
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.quantise import is_rounded
from ssm2edge.systems.system import System
from ssm2edge.traced import Network, TracedModel


@dataclass(frozen=True, eq=False)
class Reduced:
    """A model whose layers are reduced blocks.

    Attributes
    ----------
    model
        The module.
    outputs
        Its answers on the held-out samples.
    traced
        Its exported program.
    """

    model: nn.Module
    outputs: Mapping[str, NDArray[np.float32]]
    traced: TracedModel

    @cached_property
    def systems(self) -> dict[str, System]:
        """The systems of the float32 blocks that run, by layer."""
        return deployed_systems(self.model)


def replace(task: Task, model: nn.Module, progress: Progress) -> Reduced:
    """Run and trace the task's model with reduced blocks in its layers' places.

    Raises
    ------
    UserError
        If it cannot take the samples, or cannot be exported.
    """
    progress("replace", 0.0)
    outputs = record_outputs(model, task.held_out, task.time_axis, lambda share: progress("replace", share))
    return Reduced(model, outputs, task.traced(model))


def _trained_around(original: nn.Module, reduced: nn.Module) -> bool:
    """Return whether a parameter outside of the blocks is another one than the original's."""
    inside = {id(parameter) for block in blocks(reduced).values() for parameter in block.parameters()}
    before = dict(original.named_parameters())
    return any(
        id(parameter) not in inside and not (name in before and torch.equal(parameter, before[name]))
        for name, parameter in reduced.named_parameters()
    )


def deployed_systems(model: nn.Module) -> dict[str, System]:
    """Return the systems of the float32 blocks that run, by layer."""
    return {name: block.system() for name, block in blocks(model).items()}


def output_bound(task: Task, reduced: Reduced, options: Options, progress: Progress, owned: bool = False) -> dict[str, Any]:
    """Bound the error that the reduced blocks make in the outputs; what rounded and trained weights make has no bound.

    A model that its user ``owned`` after it was compressed may have been trained.
    """
    progress("bound", 0.0)
    if is_rounded(options):
        return {"available": False, "reason": "the weights are rounded, which the bound does not cover"}
    if owned and _trained_around(task.full, reduced.model):
        return {"available": False, "reason": "the weights around the layers were trained, which the bound does not cover"}
    samples = first_samples(task.samples.calibration or task.held_out, task.time_axis, BOUND_STEPS)
    return bound_record(Network(reduced.traced.program), task.systems, reduced.systems, samples, task.horizon)
