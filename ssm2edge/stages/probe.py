"""Artificial signals, and what the original and the reduced layers make of them: the pack of probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.artifact import LAYER, Reference
from ssm2edge.export.ownership import numbered
from ssm2edge.layers import blocks
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.stages.replace import Reduced
from ssm2edge.verification.signals import probe_signals, spread, with_signals

Array = NDArray[Any]

NUMBERS = 100_000
"""Numbers of all layers together, of the original and the reduced ones: what keeps the pack small."""

LENGTH = 256
"""Samples of the signals: more than the chunks that graphs compute in."""

FEWEST = 8
"""Samples of a layer's output that are kept at least, spread over its length."""


def probe(task: Task, reduced: Reduced) -> Reference:
    """Run the original, layer by layer at full order, and the reduced model on artificial signals.

    Parameters
    ----------
    task
        The user's model and samples.
    reduced
        The model with reduced blocks.
    """
    axis, multiple, shortest = task.time_axis, reduced.traced.multiple, reduced.traced.shortest
    widths = [value.shape[-1] for value in layer_outputs(reduced.model, task.first, task.length).values()]
    rows = len(probe_signals(1)) + 1
    length = max(min(task.length, LENGTH), shortest) // multiple * multiple
    if length in widths and length - multiple >= shortest:
        # Time and channels are distinguished by their sizes.
        length -= multiple
    inputs = with_signals(task.held_out, task.samples.axes, length)
    # Not every model has an answer to silence: one that divides by its input's size, or by the number of samples in a mask.
    answered = _answered(task.model, inputs) & _answered(reduced.model, inputs)
    if answered.any():
        inputs = {name: value[answered] for name, value in inputs.items()}
    kept = max(FEWEST, NUMBERS // max(1, 2 * sum(widths) * rows))
    return Reference(
        inputs,
        record_outputs(task.model, inputs, axis) | layer_outputs(task.full, inputs, length, kept),
        record_outputs(reduced.model, inputs, axis) | layer_outputs(reduced.model, inputs, length, kept),
    )


def _answered(model: nn.Module, inputs: Mapping[str, Array]) -> Array:
    """Return a mask of the rows that a model answers in finite numbers, ``(samples,)``."""
    with torch.no_grad():
        answer = model.eval()(*(torch.tensor(value) for value in inputs.values()))
    values = answer if isinstance(answer, tuple | list) else (answer,)
    found: Array = torch.stack([value.isfinite().reshape(len(value), -1).all(1) for value in values]).all(0).numpy()
    return found


def layer_outputs(model: nn.Module, inputs: Mapping[str, Array], length: int, kept: int = FEWEST) -> dict[str, Array]:
    """Return the output of each block of a replaced model, float32, ``(samples, at most kept, width)``, by ``layer.<name>``.

    Layers whose input the model pads are left out.

    Parameters
    ----------
    model
        A model whose layers are blocks; it is run once on all samples.
    inputs
        By name, ``(samples, ...)``.
    length
        Time steps of the inputs.
    kept
        Time steps to keep, see :func:`ssm2edge.verification.signals.spread`.
    """
    calls: dict[str, int] = {}
    found: dict[str, Array] = {}
    handles = []
    for name, block in blocks(model).items():

        def note(module: nn.Module, given: Any, value: Tensor, name: str = name, time_last: bool = block.time_last) -> None:
            label, time_first = LAYER + numbered(name, calls), value.mT if time_last else value
            # A padded convolution is written without its padding in the graph: its samples would not be the same ones.
            if time_first.shape[1] <= length:
                found[label] = time_first[:, spread(time_first.shape[1], kept)].float().numpy().copy()

        handles.append(block.register_forward_hook(note))
    try:
        with torch.no_grad():
            model.eval()(*(torch.tensor(value) for value in inputs.values()))
    finally:
        for handle in handles:
            handle.remove()
    return found
