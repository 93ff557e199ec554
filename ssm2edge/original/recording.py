"""Answers of the PyTorch models on the user's samples: the reference on which every verdict rests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.original.calling import answer_of, output_names
from ssm2edge.original.devices import Device, Processor
from ssm2edge.workers import Copies, workers

Array = NDArray[np.float32]
Progress = Callable[[float], None]

SAMPLES_AT_ONCE = 1 << 15
"""Time steps of all sequences of a batch together: keeps memory small whatever the length."""


def record_outputs(
    model: nn.Module,
    inputs: Mapping[str, NDArray[np.generic]],
    time_axis: int,
    progress: Progress | None = None,
    device: Device | None = None,
) -> dict[str, Array]:
    """Run a model on samples, in eval mode and without gradients.

    Parameters
    ----------
    model
        Takes the inputs by position, see :func:`ssm2edge.original.calling.called`.
    inputs
        By name, ``(samples, ...)``.
    time_axis
        Position of time; batches are made so that memory stays bounded.
    progress
        Called with the share done.
    device
        Where to run, the CPU unless given; the model is moved there, and back to the CPU.

    Returns
    -------
    dict
        Outputs by name, see :func:`ssm2edge.original.calling.output_names`, float32, one row per sample.

    Raises
    ------
    UserError
        If the model cannot take the samples, or its outputs are not finite or not one for each sample.
    """
    rows = max(1, SAMPLES_AT_ONCE // _steps(inputs, time_axis))
    device = Processor() if device is None else device
    model.eval().to(device.torch_device)
    try:
        with device.exact():
            outputs = _run(model, inputs, rows, device.torch_device, progress)
    finally:
        model.to("cpu")
    names = output_names(model, len(outputs))
    for name, value in zip(names, outputs, strict=True):
        if not np.isfinite(value).all():
            raise UserError(f"The model's {name} is not finite on the samples; check its weights and the samples' scale.")
    return dict(zip(names, outputs, strict=True))


def _run(
    model: nn.Module, inputs: Mapping[str, NDArray[np.generic]], rows: int, device: torch.device, progress: Progress | None
) -> list[Array]:
    arrays = list(inputs.values())
    count = len(arrays[0])

    def run(start: int) -> tuple[Array, ...]:
        batch = [torch.tensor(x[start : start + rows], device=device) for x in arrays]
        with copies.one() as copy:
            answer = answer_of(copy, batch, {}, inputs)
        values = answer if isinstance(answer, tuple | list) else (answer,)
        wrong = next((value for value in values if value.ndim == 0 or len(value) != len(batch[0])), None)
        if wrong is not None:
            raise UserError(
                f"The model answers {len(batch[0])} sequences with a tensor of shape {tuple(wrong.shape)}; its forward must give "
                "one answer for each sequence, the batch on axis 0."
            )
        unfit = next((value for value in values if value.is_complex() or value.numel() == 0), None)
        if unfit is not None:
            described = f"of shape {tuple(unfit.shape)}, which holds nothing" if unfit.numel() == 0 else "of complex numbers"
            raise UserError(
                f"The model answers {len(batch[0])} sequences with a tensor {described}; its forward must give real numbers: "
                "leave that tensor out, or give its real and imaginary parts by torch.view_as_real."
            )
        return tuple(value.float().cpu().numpy() for value in values)

    collected: list[tuple[Array, ...]] = []
    with workers() as pool:
        if device.type == "cpu" and count > rows:
            copies = Copies(model, pool.count)
            answers = pool.map(run, range(0, count, rows))
        else:
            copies = Copies(model, 1)
            answers = map(run, range(0, count, rows))
        for answer in answers:
            collected.append(answer)
            if progress is not None:
                progress(min(1.0, len(collected) * rows / count))
    return [np.concatenate(parts) for parts in zip(*collected, strict=True)]


def first_samples(inputs: Mapping[str, NDArray[np.generic]], time_axis: int, steps: int) -> list[Tensor]:
    """Samples of so many time steps together, at least one."""
    arrays = list(inputs.values())
    rows = max(1, steps // _steps(inputs, time_axis))
    return [torch.from_numpy(np.ascontiguousarray(x[:rows])) for x in arrays]


def _steps(inputs: Mapping[str, NDArray[np.generic]], time_axis: int) -> int:
    """Return the time steps of a sample; an input without time is not longer than those that have it, as a rule."""
    return max(int(x.shape[time_axis]) for x in inputs.values() if x.ndim > time_axis)


def count_parameters(model: nn.Module) -> int:
    """Real numbers in a model's parameters; a complex one counts twice."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
