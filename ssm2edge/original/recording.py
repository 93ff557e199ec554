"""What the PyTorch models say on the user's samples: the reference every verdict rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.original.devices import Device, Processor

Array = NDArray[np.float32]
Progress = Callable[[float], None]

SAMPLES_AT_ONCE = 1 << 16
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
        Takes the inputs as positional arguments in their order.
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
        Outputs by name (``output``, or ``output.0``, ...), float32, one row per sample.

    Raises
    ------
    UserError
        If the model cannot take the samples, or its outputs are no tensors or not finite.
    """
    rows = max(1, SAMPLES_AT_ONCE // next(iter(inputs.values())).shape[time_axis])
    device = Processor() if device is None else device
    model.eval().to(device.torch_device)
    try:
        with device.exact():
            outputs = _run(model, inputs, rows, device.torch_device, progress)
    finally:
        model.to("cpu")
    names = ["output"] if len(outputs) == 1 else [f"output.{i}" for i in range(len(outputs))]
    for name, value in zip(names, outputs, strict=True):
        if not np.isfinite(value).all():
            raise UserError(f"The model's {name} is not finite on the samples; check its weights and the samples' scale.")
    return dict(zip(names, outputs, strict=True))


def _run(
    model: nn.Module, inputs: Mapping[str, NDArray[np.generic]], rows: int, device: torch.device, progress: Progress | None
) -> list[Array]:
    arrays = list(inputs.values())
    count = len(arrays[0])
    collected: list[tuple[Array, ...]] = []
    for start in range(0, count, rows):
        batch = [torch.tensor(x[start : start + rows], device=device) for x in arrays]
        try:
            with torch.no_grad():
                answer = model(*batch)
        except UserError:
            raise
        except Exception as error:  # the user's own code may raise anything
            shapes = ", ".join(f"{name} {x.shape[1:]}" for name, x in inputs.items())
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(
                f"The model cannot take the samples (shapes per sample: {shapes}; {first.rstrip('.')}); {_mend(model)}."
            ) from error
        values = answer if isinstance(answer, tuple | list) else (answer,)
        if not all(isinstance(value, Tensor) for value in values):
            kinds = ", ".join(dict.fromkeys(type(value).__name__ for value in values if not isinstance(value, Tensor)))
            raise UserError(
                f"The model's forward must return a tensor or a tuple of tensors, not {kinds}; let the factory return a module "
                "that calls the model and returns the tensors of its answer."
            )
        wrong = next((value for value in values if value.ndim == 0 or len(value) != len(batch[0])), None)
        if wrong is not None:
            raise UserError(
                f"The model answers {len(batch[0])} sequences with a tensor of shape {tuple(wrong.shape)}; its forward must give "
                "one answer for each sequence, the batch on axis 0."
            )
        collected.append(tuple(value.float().cpu().numpy() for value in values))
        if progress is not None:
            progress(min(1.0, (start + rows) / count))
    return [np.concatenate(parts) for parts in zip(*collected, strict=True)]


def _mend(model: nn.Module) -> str:
    """What to do about a model that fails on its samples, which are float32 or integers."""
    found = dict.fromkeys(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    if found and torch.float32 not in found:
        precisions = ", ".join(str(dtype).removeprefix("torch.") for dtype in found)
        return f"its weights are {precisions}, samples and graphs are float32: let the factory return model.float()"
    return "give samples of the shape and type it was trained on"


def first_samples(inputs: Mapping[str, NDArray[np.generic]], time_axis: int, steps: int) -> list[Tensor]:
    """Samples of so many time steps together, at least one."""
    arrays = list(inputs.values())
    rows = max(1, steps // arrays[0].shape[time_axis])
    return [torch.from_numpy(np.ascontiguousarray(x[:rows])) for x in arrays]


def count_parameters(model: nn.Module) -> int:
    """Real numbers in a model's parameters; a complex one counts twice."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
