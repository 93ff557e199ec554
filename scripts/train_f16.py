"""Train models/f16 on the F-16 ground vibration benchmark: force in, three accelerations out, 400 samples a second.

The data are the nonlinear benchmarks' and are not shipped: give the folder of the published archive's MATLAB files.  As in
Forgione, Mejari and Piga (2024), the model is trained on the full multisines and the sweeps of levels 1, 3, 5 and 7, in
sub-sequences of 5,000 samples whose first 200 do not count, and judged by its fit on FullMSine_Level6_Validation.  A checkpoint
is kept in ``--state`` every few minutes, and a later run goes on from it.

    python scripts/train_f16.py FOLDER --state DIR [--steps 16000] [--seed 0]
    python scripts/train_f16.py FOLDER --prepare-only      # samples.npz for the shipped weights
    python scripts/train_f16.py FOLDER --state DIR --begin models/f16/weights.safetensors --regulariser hankel --output DIR
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.io
import torch
from fast_scan import lru_forward
from long_training import LongRecipe, train
from model_modules import load_model_module
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssm2edge.retraining import hankel_nuclear_norm, modal_l1

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "f16"
TRAINING = tuple(f"{kind}_Level{level}" for kind in ("FullMSine", "SineSw") for level in (1, 3, 5, 7))
VALIDATION = "FullMSine_Level6_Validation"
SCALED_BY = "FullMSine_Level5"
LENGTH, SKIPPED = 5000, 200
CALIBRATION, HELD_OUT = 32, 12
REGULARISERS = {"modal": modal_l1, "hankel": hankel_nuclear_norm}

Recording = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Force ``(time, 1)`` and accelerations ``(time, 3)``."""


def read(folder: Path, name: str) -> Recording:
    """Return force and accelerations of one recording.

    Raises
    ------
    SystemExit
        If the file is not there.
    """
    file = folder / f"F16Data_{name}.mat"
    if not file.exists():
        raise SystemExit(f"{file} is not there; name the folder of the benchmark's MATLAB files.")
    content = scipy.io.loadmat(file)
    return content["Force"].T.astype(np.float32), content["Acceleration"].T.astype(np.float32)


def fits(predicted: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 100 (1 - |error| / |measured - its mean|) of each acceleration."""
    errors = np.linalg.norm((predicted - measured).astype(np.float64), axis=0)
    sizes = np.linalg.norm((measured - measured.mean(0)).astype(np.float64), axis=0)
    shares: NDArray[np.float64] = 100 * (1 - errors / sizes)
    return shares


def save_samples(directory: Path, folder: Path) -> None:
    """Write samples.npz: sub-sequences of the training recordings, and the validation recording with what was measured."""
    generator = np.random.default_rng(0)
    forces = [read(folder, name)[0] for name in TRAINING]
    chosen = [forces[index % len(forces)] for index in range(CALIBRATION)]
    starts = [int(generator.integers(len(force) - LENGTH)) for force in chosen]
    force, measured = read(folder, VALIDATION)
    parts = [slice(LENGTH * index, LENGTH * (index + 1)) for index in range(HELD_OUT)]
    samples: dict[str, Any] = {
        "calibration.force": np.stack([force[start : start + LENGTH] for force, start in zip(chosen, starts, strict=True)]),
        "held_out.force": np.stack([force[part] for part in parts]),
        "labels": np.stack([measured[part] for part in parts]),
    }
    np.savez_compressed(directory / "samples.npz", **samples)


def take_units(model: Any, force: float, accelerations: Tensor) -> None:
    """Fold the scales of the signals into encoder and head: the model takes newtons from there on; inverse scales undo it."""
    with torch.no_grad():
        model.encoder.weight /= force
        model.decoder.weight *= accelerations[:, None]
        model.decoder.bias *= accelerations


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), default=Path("f16-training"), show_default=True)
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on from the checkpoint in --state.")
@click.option("--prepare-only", is_flag=True, help="Write samples.npz, and train nothing.")
@click.option("--steps", default=16000, show_default=True)
@click.option("--batch", default=2, show_default=True)
@click.option("--rate", default=2e-3, show_default=True)
@click.option("--dynamics-rate", default=1e-3, show_default=True)
@click.option("--warmup", default=300, show_default=True, help="Steps of the linear start.")
@click.option("--begin", type=click.Path(exists=True, path_type=Path), help="Weights to begin with, as --output holds them.")
@click.option("--regulariser", type=click.Choice(list(REGULARISERS)), help="A term of the loss that asks for fewer modes.")
@click.option("--weight", default=1e-2, show_default=True, help="Of the regulariser.")
@click.option("--half/--single", default=True, show_default=True, help="Matrix products in bfloat16.")
@click.option("--seed", default=0, show_default=True)
@click.option("--minutes", default=3.0, show_default=True, help="Between checkpoints.")
@click.option("--seconds", default=math.inf, help="A run ends after so many, with a checkpoint.")
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    folder: Path, state: Path, resume: bool, prepare_only: bool, steps: int, batch: int, rate: float, dynamics_rate: float,
    warmup: int, begin: Path | None, regulariser: str | None, weight: float, half: bool, seed: int, minutes: float,
    seconds: float, output: Path,
) -> None:  # fmt: skip
    """Train, print fits on the validation recording now and then, write weights.safetensors and samples.npz."""
    output.mkdir(parents=True, exist_ok=True)
    if prepare_only:
        save_samples(output, folder)
        return
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    scaled = read(folder, SCALED_BY)
    force_scale, scales = float(scaled[0].std()), scaled[1].std(0)
    recordings = [read(folder, name) for name in TRAINING]
    forces = [torch.from_numpy(force / force_scale) for force, _ in recordings]
    answers = [torch.from_numpy(measured / scales) for _, measured in recordings]
    force, measured = read(folder, VALIDATION)
    model = load_model_module(MODEL_DIRECTORY).make()
    if begin is not None:
        model.load_state_dict(load_file(begin))
        take_units(model, 1 / force_scale, torch.from_numpy(1 / scales))
    for block in model.layers:
        block.lru.forward = functools.partial(lru_forward, block.lru)
    # The sum over layers stays in single precision while the matrix products are of bfloat16.
    encode = model.encoder.forward
    model.encoder.forward = torch.autocast("cpu", enabled=False)(encode)
    starts = np.cumsum([0] + [len(force) - LENGTH for force in forces])

    def loss_of(step: int) -> Tensor:
        drawn = np.random.default_rng((seed, step)).integers(starts[-1], size=batch)
        sources = np.searchsorted(starts, drawn, side="right") - 1
        parts = [
            (source, slice(at := int(place - starts[source]), at + LENGTH)) for source, place in zip(sources, drawn, strict=True)
        ]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            predicted = model(torch.stack([forces[source][part] for source, part in parts])).float()
        wanted = torch.stack([answers[source][part] for source, part in parts])
        loss: Tensor = (predicted - wanted)[:, SKIPPED:].square().mean()
        return loss if regulariser is None else loss + weight * REGULARISERS[regulariser](model).float()

    def judge() -> dict[str, float]:
        with torch.no_grad():
            predicted = model(torch.from_numpy(force / force_scale)[None])[0].numpy() * scales
        each = fits(predicted, measured)
        return {f"fit {index + 1}": float(fit) for index, fit in enumerate(each)} | {"mean fit": float(each.mean())}

    figures = train(model, loss_of, judge, LongRecipe(steps, rate, dynamics_rate, 0.01, warmup, minutes), state, resume, seconds)
    if figures and figures["step"] < steps:
        return
    take_units(model, force_scale, torch.from_numpy(scales))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, output / "weights.safetensors")
    save_samples(output, folder)
    click.echo(f"mean fit {figures.get('mean fit', math.nan):.2f}; wrote {output / 'weights.safetensors'}")


if __name__ == "__main__":
    main()
