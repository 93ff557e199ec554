"""Retrain a reference model with labels from several initialisations of one order, at one budget, side by side.

    python scripts/finetune.py [--model digits] [--order 4] [--initialisations gradient,hippo,balanced] [--seeds 0,1,2]
    python scripts/finetune.py --model fashion --data /usr/share/datasets/fashion-mnist
    python scripts/finetune.py --initialisations calibrated --learning-rate 3e-4 --epochs 3

Every run starts from the trained model with its SSM layers replaced: by reductions of the method's name, by ``hippo`` as by a
fresh initialisation of the order, or, as ``calibrated``, by output matching on the calibration samples.  Mixing weights, norms
and head start trained in all of them, and all parameters move.  Data and augmentation are those of the model's training script;
a tenth of the training part is held back to choose the best epoch, and the held-out part is seen once, at the end of a run.
Figures go to models/<name>/results/finetune.json after each run; finished runs are kept, so that an interrupted script goes on.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from labelled_tasks import TASKS, LabelledTask
from retraining_table import markdown
from torch import Tensor, nn

from ssm2edge.calibration import calibrate, signals_of
from ssm2edge.calibration.finetuning import Epoch, Training, finetune
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.pipeline import Loaded, load, replace
from ssm2edge.reduction import METHODS
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.orders import uniform_orders
from ssm2edge.stages.feedthrough import in_form

MODELS = Path(__file__).resolve().parent.parent / "models"
# Three times finetune's own: the starts are far from the original.  Of 1e-3, 3e-3 and 6e-3 the best for gradient and of 3e-3 and
# 6e-3 the better for hippo, after 60 steps, at order 4 of models/digits on digits of the training part.
TRAINING = Training(learning_rate=3e-3, dynamics_rate=1e-3)


def start(loaded: Loaded, initialisation: str, order: int) -> nn.Module:
    """Return the model to be retrained.

    Raises
    ------
    click.UsageError
        If there is no such initialisation.
    """
    method = "gradient" if initialisation == "calibrated" else initialisation
    if method not in METHODS:
        raise click.UsageError(f"there is no initialisation {initialisation!r}; choose from {', '.join(METHODS)}, calibrated.")
    orders = uniform_orders(loaded.systems, order)
    loaded = in_form(loaded, Options(order=order).feedthrough, orders)
    reductions = reduce_layers(loaded.systems, orders, method, loaded.length)
    systems = {name: reduction.system for name, reduction in reductions.items()}
    if initialisation == "calibrated":
        signals = signals_of(loaded.samples.calibration, loaded.source.time_axis, loaded.length, loaded.systems, orders)
        systems = calibrate(loaded.model, loaded.systems, systems, signals, "match", loaded.source.metric).systems
    return replace(loaded, systems)


def share_right(outputs: Tensor, labels: Tensor) -> float:
    """Accuracy of logits."""
    return float((outputs.argmax(-1) == labels).double().mean())


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Accuracy in eval mode, in batches that fit a processor's cache."""
    model.eval()
    with torch.no_grad():
        return share_right(torch.cat([model(part) for part in torch.split(inputs, 50)]), labels)


def run(model: nn.Module, task: LabelledTask, training: Training, progress: Callable[[Epoch], None]) -> dict[str, Any]:
    """Retrain once."""

    def augmented(inputs: tuple[Tensor, ...], labels: Tensor, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        return (task.augment(inputs[0], generator),), labels

    begun = time.monotonic()
    inputs = {task.argument: task.inputs}
    result = finetune(model, inputs, task.labels, "cross_entropy", training, augmented, share_right, progress)
    return {
        "held_back_accuracy": [epoch.score for epoch in result.epochs],
        "held_back_loss": [epoch.held_back_loss for epoch in result.epochs],
        "training_loss": [epoch.training_loss for epoch in result.epochs],
        "best_epoch": result.best,
        "held_out_accuracy": accuracy(result.model, *task.held_out),
        "seconds": round(time.monotonic() - begun),
    }


@click.command(help=__doc__)
@click.option("--model", "name", type=click.Choice(sorted(TASKS)), default="digits", show_default=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Archive or folder of the data, if not fetched.")
@click.option("--order", type=int, help="States of a system.  [default: a sixteenth]")
@click.option("--initialisations", default="gradient,hippo,balanced,calibrated", show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--epochs", default=3, show_default=True)
@click.option("--learning-rate", default=TRAINING.learning_rate, show_default=True, help="Three times that of the dynamics.")
@click.option("--threads", default=1, show_default=True)
def main(
    name: str, data: Path | None, order: int | None, initialisations: str, seeds: str, epochs: int, learning_rate: float,
    threads: int,
) -> None:  # fmt: skip
    torch.set_num_threads(threads)
    task = TASKS[name](data)
    loaded = load(open_source(str(MODELS / name)))
    order = order or max(system.order for system in loaded.systems.values()) // 16
    starts = initialisations.split(",")
    models = {initialisation: start(loaded, initialisation, order) for initialisation in starts}
    file = MODELS / name / "results" / "finetune.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"runs": []}
    results |= {field: getattr(TRAINING, field) for field in ("held_back", "batch")}
    if "original" not in results:
        results["original"] = accuracy(loaded.model, *task.held_out)
    file.parent.mkdir(exist_ok=True)
    before: dict[str, float] = {}
    # Seed by seed, so that an interrupted script has compared all initialisations on the seeds it finished.
    for seed, initialisation in ((seed, one) for seed in map(int, seeds.split(",")) for one in starts):
        key: dict[str, Any] = {"initialisation": initialisation, "order": order, "epochs": epochs, "seed": seed}
        key["learning_rate"] = learning_rate
        if any(all(one[k] == v for k, v in key.items()) for one in results["runs"]):
            continue

        def report(epoch: Epoch, label: str = f"{initialisation} seed {seed}") -> None:
            loss = "" if epoch.training_loss is None else f"  training loss {epoch.training_loss:.4f}"
            click.echo(f"{label} epoch {epoch.number}  held-back accuracy {epoch.score:.4f}{loss}")

        training = dataclasses.replace(
            TRAINING, epochs=epochs, seed=seed, learning_rate=learning_rate, dynamics_rate=learning_rate / 3
        )
        if initialisation not in before:
            before[initialisation] = accuracy(models[initialisation], *task.held_out)
        key |= {"held_out_accuracy_before": before[initialisation]}
        results["runs"].append(key | run(models[initialisation], task, training, report))
        click.echo(f"{initialisation} seed {seed}: held-out accuracy {results['runs'][-1]['held_out_accuracy']:.4f}")
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    click.echo(markdown(results))


if __name__ == "__main__":
    main()
