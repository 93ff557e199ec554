"""Losses by name, with the shapes and types that labels must have: a silent broadcast would train towards something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError

NamedLoss = Literal["cross_entropy", "mse"]


def named_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a name: a mean over samples, and over time where there is an output per step.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    if name not in _LOSSES:
        raise UserError(f"There is no loss {name!r}; choose one of {', '.join(_LOSSES)}, or give a function.")
    return _LOSSES[name]


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of logits ``(samples, ..., classes)`` and classes ``(samples, ...)``.

    Raises
    ------
    UserError
        If shapes, types or values do not fit.
    """
    _check_tensor(outputs)
    if labels.is_floating_point() or labels.shape != outputs.shape[:-1]:
        raise UserError(
            f"Labels of shape {tuple(labels.shape)} and type {labels.dtype} are no classes of outputs of shape "
            f"{tuple(outputs.shape)}; give integers of shape {tuple(outputs.shape[:-1])}."
        )
    classes = outputs.shape[-1]
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(f"Labels lie between {int(labels.min())} and {int(labels.max())}, but the model has {classes} classes.")
    return nn.functional.cross_entropy(outputs.reshape(-1, classes), labels.reshape(-1).long())


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean square error of outputs and labels of one shape.

    Raises
    ------
    UserError
        If the shapes differ.
    """
    _check_tensor(outputs)
    if labels.shape != outputs.shape:
        given, wanted = tuple(labels.shape), tuple(outputs.shape)
        raise UserError(f"Labels of shape {given} are no true outputs of shape {wanted}; give one label per output.")
    return nn.functional.mse_loss(outputs, labels.to(outputs.dtype))


def _check_tensor(outputs: object) -> None:
    if not isinstance(outputs, Tensor) or not torch.is_floating_point(outputs):
        raise UserError("The model's output is no single real tensor; give a loss that takes it.")


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "mse": mse}
