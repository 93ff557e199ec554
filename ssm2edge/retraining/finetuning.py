"""Retraining with labels: a model of reduced blocks goes on training from its reduction.

This is the second setting of Sakamoto and Sato (arXiv 2510.14542): reduction as initialisation.  AdamW under a one-cycle schedule
(Smith and Topin, arXiv 1708.07120), gradients clipped, with a smaller rate and no decay for the poles.  A part of the samples is
held back, and the iterate with the smallest loss on it is the result; the start is the first of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.layers import blocks
from ssm2edge.retraining.losses import NamedLoss, named_loss

Array = NDArray[np.generic]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean over a batch, from the model's outputs and the labels."""
Score = Callable[[Tensor, Tensor], float]
"""Another figure, from all held-back outputs and labels; reported, never selected by."""
Augmentation = Callable[[tuple[Tensor, ...], Tensor, torch.Generator], tuple[tuple[Tensor, ...], Tensor]]
"""Changes the inputs (in their order) and labels of one batch at random, from the generator alone."""

WARM_UP = 0.1
"""Share of the steps in which the rates rise."""


@dataclass(frozen=True)
class Training:
    """Settings of retraining.

    Attributes
    ----------
    epochs
        Passes over the training part.
    batch
        Samples of a step.
    learning_rate, decay
        Largest rate and weight decay of everything but the poles.
    dynamics_rate
        Largest rate of the poles, which do not decay.
    largest_gradient
        Norm to which the gradient of a step is clipped.
    only_blocks
        Leave everything but the reduced blocks as it is; dropout and running statistics are then those of eval mode.
    held_back
        Share of the samples by whose loss the best iterate is kept.
    seed
        Of the held-back part, the order of the samples, augmentation and dropout.
    """

    epochs: int = 3
    batch: int = 50
    learning_rate: float = 1e-3
    decay: float = 0.01
    dynamics_rate: float = 3e-4
    largest_gradient: float = 1.0
    only_blocks: bool = False
    held_back: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("learning_rate", "dynamics_rate", "largest_gradient"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be a positive number, not {getattr(self, name)}.")
        if not 0 <= self.decay < math.inf:
            raise UserError(f"decay must be zero or a positive number, not {self.decay}.")
        if not 0 < self.held_back < 1:
            raise UserError(f"held_back must lie between 0 and 1, not {self.held_back}.")


@dataclass(frozen=True)
class Epoch:
    """The model after an epoch; number 0 is the start.

    Attributes
    ----------
    number
        Epochs done.
    training_loss
        Mean over the epoch's steps, while the model moved; None at the start.
    held_back_loss
        On the held-back part.
    score
        As the caller's function has it; None without one.
    """

    number: int
    training_loss: float | None
    held_back_loss: float
    score: float | None


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A retrained model.

    Attributes
    ----------
    model
        The best iterate, in eval mode.
    best
        Number of the epoch it comes from; 0 is the start.
    epochs
        Figures after each, the start included; fewer than asked for if training left the finite numbers.
    """

    model: nn.Module
    best: int
    epochs: tuple[Epoch, ...]


def finetune(
    model: nn.Module,
    inputs: Mapping[str, Array | Tensor],
    labels: Array | Tensor,
    loss: NamedLoss | Loss = "cross_entropy",
    training: Training | None = None,
    augment: Augmentation | None = None,
    score: Score | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> Finetuned:
    """Train a model of reduced blocks on labelled samples.

    Parameters
    ----------
    model
        As :func:`ssm2edge.layers.replace_layers` returns it; left as it is.
    inputs
        Arrays or tensors by name, in the order of the model's arguments, ``(samples, ...)``.
    labels
        ``(samples, ...)``: classes, one per sample or per time step, or true outputs.
    loss
        ``"cross_entropy"``, ``"mse"``, or a function of outputs and labels.
    training
        Budget, rates, and the parameters that may move.
    augment
        Applied to every training batch, never to the held-back part.
    score, progress
        Another figure to measure after each epoch, and a function to call with the figures.

    Returns
    -------
    Finetuned
        Its loss on the held-back part is never above the start's.  The same arguments give the same model; the global random
        generators are left as they were.

    Raises
    ------
    UserError
        If the model holds no reduced block, the samples are not finite, too few or not as many as the labels, or the model or the
        loss cannot take them.
    """
    training = training or Training()
    if not blocks(model):
        raise UserError("The model holds no reduced block; put reduced systems into it first (ssm2edge.layers.replace_layers).")
    measure: Loss = named_loss(loss) if isinstance(loss, str) else loss
    arrays, wanted = {name: _array(values) for name, values in inputs.items()}, _array(labels)
    kept, held = hold_back(_checked_count(arrays, wanted), training.held_back, training.seed)
    trained = copy.deepcopy(model)
    device = next(trained.parameters()).device
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in (*arrays.values(), wanted))
    part = tuple(x[held] for x in tensors)
    # Dropout draws from the global generator: it is seeded here and restored on the way out.
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(training.seed)
        history = [_judge(trained, part, measure, score, training.batch, 0, None)]
        if not math.isfinite(history[0].held_back_loss):
            raise UserError("The loss of the model on the held-back samples is not finite; check its weights and the labels.")
        if progress is not None:
            progress(history[0])
        best, state = 0, copy.deepcopy(trained.state_dict())
        for number, mean in enumerate(_epochs(trained, tuple(x[kept] for x in tensors), measure, augment, training), 1):
            history.append(_judge(trained, part, measure, score, training.batch, number, mean))
            if progress is not None:
                progress(history[-1])
            if history[-1].held_back_loss < history[best].held_back_loss:
                best, state = number, copy.deepcopy(trained.state_dict())
    # A fresh copy has every flag as the caller's model has it.
    result = copy.deepcopy(model)
    result.load_state_dict(state)
    return Finetuned(result.eval(), best, tuple(history))


def hold_back(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training part and of the held-back part, each in random order.

    Raises
    ------
    UserError
        If either would be empty.
    """
    held = round(count * share)
    if not 0 < held < count:
        raise UserError(f"{count} samples are too few to hold {share:g} of them back; give at least {math.ceil(1 / share) + 1}.")
    order = np.random.default_rng(seed).permutation(count)
    return order[held:], order[:held]


def _array(values: Array | Tensor) -> Array:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _checked_count(inputs: Mapping[str, Array], labels: Array) -> int:
    if not inputs:
        raise UserError("There are no inputs; give at least one array of samples.")
    for name, values in {**inputs, "labels": labels}.items():
        if values.ndim == 0 or len(values) != len(labels):
            raise UserError(f"Input {name} has {len(values) if values.ndim else 0} samples, but there are {len(labels)} labels.")
        if not np.issubdtype(values.dtype, np.integer) and not np.isfinite(np.asarray(values, dtype=np.float64)).all():
            subject = "The labels hold" if name == "labels" else f"Input {name} holds"
            raise UserError(f"{subject} NaN or infinite values; remove or mend these samples.")
    return len(labels)


def _epochs(
    model: nn.Module, tensors: tuple[Tensor, ...], loss: Loss, augment: Augmentation | None, training: Training
) -> Iterator[float]:
    """Train the model in place; after each epoch its mean training loss.  Ends early where a step is not finite."""
    device, count = next(model.parameters()).device, len(tensors[0])
    optimiser = _optimiser(model, training)
    moving = [p for group in optimiser.param_groups for p in group["params"]]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [group["lr"] for group in optimiser.param_groups],
        total_steps=training.epochs * math.ceil(count / training.batch),
        pct_start=WARM_UP,
    )
    generator = torch.Generator().manual_seed(training.seed)
    for _ in range(training.epochs):
        model.train(not training.only_blocks)
        total = 0.0
        for chosen in torch.split(torch.randperm(count, generator=generator), training.batch):
            *batch, wanted = (x[chosen] for x in tensors)
            arguments = tuple(batch)
            if augment is not None:
                arguments, wanted = augment(arguments, wanted, generator)
            value = loss(model(*(x.to(device) for x in arguments)), wanted.to(device))
            optimiser.zero_grad()
            torch.autograd.backward(value)
            norm = nn.utils.clip_grad_norm_(moving, training.largest_gradient)
            if not bool(torch.isfinite(value.detach() + norm)):
                return
            optimiser.step()
            schedule.step()
            total += float(value.detach()) * len(chosen)
        yield total / count


def _optimiser(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """Return AdamW on two groups, poles and the rest; parameters that may not move need no gradient."""
    held = blocks(model).values()
    dynamics = {id(block.dynamics) for block in held}
    inside = {id(p) for block in held for p in block.parameters()}
    moving = [p for p in model.parameters() if p.requires_grad and (id(p) in inside or not training.only_blocks)]
    for parameter in model.parameters():
        parameter.requires_grad_(any(parameter is p for p in moving))
    groups = [
        {"params": [p for p in moving if id(p) not in dynamics], "lr": training.learning_rate, "weight_decay": training.decay},
        {"params": [p for p in moving if id(p) in dynamics], "lr": training.dynamics_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UserError("No parameter of the model may move; let the blocks' parameters require gradients.")
    return torch.optim.AdamW(groups)


def _judge(
    model: nn.Module, part: tuple[Tensor, ...], loss: Loss, score: Score | None, batch: int, number: int, mean: float | None
) -> Epoch:
    """Measure the model on the held-back part, in eval mode."""
    device = next(model.parameters()).device
    model.eval()
    total, outputs = 0.0, []
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(part[0])), batch):
            *arguments, wanted = (x[rows].to(device) for x in part)
            try:
                answer = model(*arguments)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                first = (str(error).strip().splitlines() or ["no message"])[0][:200]
                raise UserError(f"The model cannot take the inputs ({first}); give them as its forward expects them.") from error
            total += float(loss(answer, wanted)) * len(rows)
            if score is not None:
                outputs.append(answer)
    figure = None if score is None else score(torch.cat(outputs), part[-1].to(device))
    return Epoch(number, mean, total / len(part[0]), figure)
