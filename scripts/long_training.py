"""A training by steps that may take hours: it keeps a checkpoint every few minutes, goes on from it, and may change its length.

Each step is a function of its number alone, batch and learning rate alike, so that an interrupted training goes on as if it had
not been; and one that goes on with another number of steps follows the schedule of that number from there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from training import DYNAMICS


@dataclass(frozen=True)
class LongRecipe:
    """AdamW on a cosine schedule with a linear start.

    Attributes
    ----------
    steps
        In all.
    rate, dynamics_rate
        Highest learning rates: of all parameters, and of those that place poles, which have no decay.
    decay
        Weight decay.
    warmup
        Steps of the linear start.
    minutes
        Between checkpoints and reports.
    """

    steps: int
    rate: float
    dynamics_rate: float
    decay: float = 0.05
    warmup: int = 300
    minutes: float = 3.0

    def share(self, step: int) -> float:
        """Return the share of the highest learning rate at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup)))


def optimiser_for(model: nn.Module, recipe: LongRecipe) -> torch.optim.AdamW:
    """Return AdamW with a rate of its own and no decay for the dynamics, and no decay for vectors."""
    dynamics: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.rsplit(".", 1)[-1] in DYNAMICS:
            dynamics.append(parameter)
        else:
            (vectors if parameter.ndim < 2 else matrices).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": matrices, "peak": recipe.rate, "weight_decay": recipe.decay},
            {"params": vectors, "peak": recipe.rate, "weight_decay": 0.0},
            {"params": dynamics, "peak": recipe.dynamics_rate, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )


def train(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    judge: Callable[[], dict[str, float]],
    recipe: LongRecipe,
    folder: Path,
    resume: bool,
    seconds: float = math.inf,
) -> dict[str, float]:
    """Train, report and keep a checkpoint every few minutes; return the last figures.

    Parameters
    ----------
    model
        What is trained.
    loss_of
        The loss of a step, by its number, to be differentiated.
    judge
        Figures of the model as it is, for the reports.
    recipe
        How to train.
    folder
        Where the checkpoint and the curve (one line of JSON a report) are kept.
    resume
        Go on from the checkpoint there.
    seconds
        After so many by the clock a checkpoint is kept and the run ends, whatever is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept, curve = folder / "checkpoint.pt", folder / "curve.jsonl"
    optimiser = optimiser_for(model, recipe)
    first, spent = 0, 0.0
    if resume and kept.exists():
        saved = torch.load(kept, map_location="cpu", weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        first, spent = saved["step"], saved["seconds"]
    begun = reported = time.monotonic()
    total, count, worked = 0.0, 0, time.process_time()
    figures: dict[str, float] = {}
    for step in range(first, recipe.steps):
        model.train()
        share = recipe.share(step)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * share
        torch.manual_seed(step)
        loss = loss_of(step)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        total, count = total + float(loss.detach()), count + 1
        last = step + 1 == recipe.steps or time.monotonic() - begun > seconds
        if last or time.monotonic() - reported > 60 * recipe.minutes:
            now = time.process_time()
            spent, worked = spent + now - worked, now
            model.eval()
            figures = {"step": step + 1, "loss": total / count, "seconds": spent} | judge()
            with curve.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
            click.echo("  ".join(f"{name} {value:.5g}" for name, value in figures.items()))
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1, "seconds": spent}
            unfinished = kept.with_suffix(".part")
            torch.save(state, unfinished)
            unfinished.replace(kept)
            reported, total, count = time.monotonic(), 0.0, 0
            if last:
                break
    model.eval()
    return figures
