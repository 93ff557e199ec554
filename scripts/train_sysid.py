"""Train models/sysid on a simulated Wiener-Hammerstein system and write its weights and samples.

The system is a Chebyshev low-pass filter, a saturation like that of a diode, and an inverse Chebyshev low-pass filter, the
structure of the Wiener-Hammerstein benchmark of nonlinear system identification; every signal is simulated here.  Interrupted
runs go on from the last line they printed.

    python scripts/train_sysid.py [--steps 1600] [--seed 0]
    python scripts/train_sysid.py --rank 0 --systems tests/reduction/data/linear_lru.npz

The second line trains linear recurrent units, as published, and writes their systems alone: poles, B, C and D of each layer, of
the modes that are stored (one of each conjugate pair), in single precision.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.signal
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from training import Checkpoint

from ssm2edge.layers import find_layers

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "sysid"
LENGTH = 512
TRAINING, CALIBRATION, HELD_OUT = 600, 100, 200


def diode(voltage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Saturation of a diode to ground behind a resistor: transparent below its knee, a tenth of the slope above."""
    knee, width, remaining = 0.4, 0.1, 0.1
    return voltage - (1 - remaining) * width * np.logaddexp(0.0, (voltage - knee) / width)


def simulate(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs and outputs ``(count, LENGTH, 1)`` of the system at rest, driven by noise of random level and bandwidth."""
    generator = np.random.default_rng(seed)
    levels = generator.uniform(0.3, 1.5, (count, 1))
    white = generator.normal(size=(count, LENGTH))
    inputs = np.empty_like(white)
    for row, cut in enumerate(generator.uniform(0.2, 0.9, count)):
        numerator, denominator = scipy.signal.butter(2, cut)
        shaped = scipy.signal.lfilter(numerator, denominator, white[row])
        inputs[row] = shaped / shaped.std()
    inputs *= levels
    first = scipy.signal.cheby1(3, 0.5, 4400 / 25600)
    second = scipy.signal.cheby2(3, 40, 5000 / 25600)
    outputs = scipy.signal.lfilter(*second, diode(scipy.signal.lfilter(*first, inputs)) - diode(np.zeros(1)))
    return inputs[..., None].astype(np.float32), outputs[..., None].astype(np.float32)


def nrmse(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Root mean square error over the standard deviation of the targets."""
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(part) for part in torch.split(inputs, 50)])
    return float((predicted - targets).square().mean().sqrt() / targets.std(correction=0))


def optimiser_for(model: nn.Module, learning_rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW without decay for the poles: elsewhere it takes away what initialisation left and training never used."""
    dynamics = [p for name, p in model.named_parameters() if name.endswith("_log")]
    others = [p for name, p in model.named_parameters() if not name.endswith("_log")]
    groups = [{"params": others, "weight_decay": decay}, {"params": dynamics, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)


def save_samples(directory: Path, training: list[Tensor], held_out: list[Tensor]) -> None:
    """Write samples.npz: calibration inputs, held-out inputs and their true outputs."""
    samples: dict[str, Any] = {
        "calibration.voltage": training[0][:CALIBRATION].numpy(),
        "held_out.voltage": held_out[0].numpy(),
        "labels": held_out[1].numpy(),
    }
    np.savez_compressed(directory / "samples.npz", **samples)


def save_systems(path: Path, model: nn.Module) -> None:
    """Write the linear parts of the layers, stacked: ``(layers, ...)`` of one mode of each pair, complex64, and D, float32."""
    found = [layer.system for layer in find_layers(model)]
    arrays: dict[str, Any] = {
        "poles": torch.stack([system.poles[::2] for system in found]).to(torch.complex64).numpy(),
        "B": torch.stack([system.B[::2] for system in found]).to(torch.complex64).numpy(),
        "C": torch.stack([system.C[:, ::2] for system in found]).to(torch.complex64).numpy(),
        "D": torch.stack([system.D for system in found]).float().numpy(),
    }
    np.savez_compressed(path, **arrays)


@click.command()
@click.option("--steps", default=1600, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--learning-rate", default=8e-3, show_default=True)
@click.option("--decay", default=0.3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--rank", default=8, show_default=True, help="Squared directions of each layer; 0 for linear outputs.")
@click.option(
    "--systems", type=click.Path(path_type=Path), help="Write the layers' systems here, and neither weights nor samples."
)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    steps: int, batch: int, learning_rate: float, decay: float, seed: int, rank: int, systems: Path | None, output: Path
) -> None:
    """Train, print the held-out error now and then, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    training = [torch.from_numpy(x) for x in simulate(TRAINING, seed=1)]
    held_out = [torch.from_numpy(x) for x in simulate(HELD_OUT, seed=2)]
    output.mkdir(parents=True, exist_ok=True)
    if systems is None:
        save_samples(output, training, held_out)
    model = load_model_module(MODEL_DIRECTORY).make(rank=rank)
    optimiser = optimiser_for(model, learning_rate, decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.1)
    scale = float(training[1].square().mean())
    generator = torch.Generator().manual_seed(seed)
    checkpoint = Checkpoint(output / f"training-{rank}-{seed}.checkpoint", model, optimiser, schedule, generator)
    start, total, report = time.monotonic(), 0.0, 100
    for step in range(checkpoint.resume() + 1, steps + 1):
        model.train()
        chosen = torch.randint(0, TRAINING, (batch,), generator=generator)
        loss = (model(training[0][chosen]) - training[1][chosen]).square().mean() / scale
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if step % report == 0:
            click.echo(
                f"step {step}/{steps}  training NRMSE {(total / report) ** 0.5:.4f}  "
                f"held-out NRMSE {nrmse(model, *held_out):.4f}  {time.monotonic() - start:.0f} s"
            )
            total = 0.0
            checkpoint.save(step)
    if systems is None:
        save_file(model.state_dict(), output / "weights.safetensors")
    else:
        save_systems(systems, model)
    checkpoint.remove()
    click.echo(f"held-out NRMSE {nrmse(model, *held_out):.4f}; wrote {systems or output / 'weights.safetensors'}")


if __name__ == "__main__":
    main()
