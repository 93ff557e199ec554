"""Figures of one reference model at one size, one way of getting there: what `reproduce_tables.py` fills its tables with."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.calibration import Matching, calibrate_spectrum
from ssm2edge.calibration.matching import match
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import blocks
from ssm2edge.options import Options
from ssm2edge.original.recording import count_parameters, record_outputs
from ssm2edge.original.task import Task
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.runtime import Model, Stream
from ssm2edge.stages.calibrate import calibration_signals
from ssm2edge.stages.export import export
from ssm2edge.stages.feedthrough import in_form
from ssm2edge.stages.progress import silent
from ssm2edge.stages.replace import Reduced, deployed_systems, output_bound
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import System
from ssm2edge.verification import interleaved, processor_name
from ssm2edge.verification.nrmse import normalised_error

METHODS = (
    "balanced", "singular_perturbation", "modal", "modal_singular_perturbation", "last", "aire", "tlh2", "hippo", "gradient",
)  # fmt: skip
"""Reductions that see no samples."""
CALIBRATED = ("spectrum", "match")
"""What goes on from ``gradient`` with unlabelled samples."""
BOUNDED = ("gradient", "match")
"""Ways whose bound on the output error is told."""
ROUNDS, BUDGET = 30, 6.0
"""Of the comparison of latencies."""


def orders_at(systems: Mapping[str, System], divisor: int) -> dict[str, int]:
    """A share of each layer's states, at least one."""
    return {name: max(1, round(system.order / divisor)) for name, system in systems.items()}


def states(systems: Mapping[str, System]) -> int:
    """Real states of all layers."""
    return sum(system.batch_shape.numel() * system.order for system in systems.values())


class Cells:
    """Measures one model; what several cells share is made once.

    Parameters
    ----------
    task
        The model, its samples and layers.
    matching
        Budget and seed of ``match``.
    """

    def __init__(self, task: Task, matching: Matching) -> None:
        self._task, self._matching = task, matching
        self._formed: dict[tuple[str, ...], tuple[Task, Teacher]] = {}
        self._made: dict[tuple[str, int], dict[str, System]] = {}

    @property
    def orders(self) -> dict[str, int]:
        """States of each layer's systems."""
        return {name: system.order for name, system in self._task.systems.items()}

    def original(self) -> dict[str, Any]:
        """The unreduced model."""
        task = self._task
        return {
            "value": self._judge(record_outputs(task.model, task.held_out, task.time_axis)),
            "samples": len(next(iter(task.held_out.values()))),
            "states": states(task.systems),
            "orders": self.orders,
            "ssm_parameters": sum(layer.parameters for layer in task.layers.values()),
            "parameters": count_parameters(task.model),
            "weights_bytes": task.source.weights.stat().st_size if task.source.weights is not None else None,
        }

    def reduced(self, way: str, divisor: int) -> dict[str, Any]:
        """One way at one size: metric, errors, sizes, and the bound where the systems are those that would be shipped."""
        (task, _), start = self._in_form(divisor), time.monotonic()
        systems = self._systems(way, divisor)
        seconds = time.monotonic() - start
        network = task.replaced(systems)
        outputs = record_outputs(network, task.held_out, task.time_axis)
        deployed = deployed_systems(network)
        squares = [(layer.system, deployed[name]) for name, layer in task.layers.items()]
        error = math.sqrt(sum(float(h2_error(a, b, task.length).square().sum()) for a, b in squares))
        norm = math.sqrt(sum(float(h2_norm(a, task.length).square().sum()) for a, _ in squares))
        cell: dict[str, Any] = {
            "value": self._judge(outputs),
            "states": states(deployed),
            "ssm_parameters": sum(count_parameters(block) for block in blocks(network).values()),
            "parameters": count_parameters(network),
            "h2_error_relative": error / norm,
            "seconds": round(seconds, 1),
        }
        if way in BOUNDED:
            bound = output_bound(task, Reduced(network, outputs, task.traced(network)), Options(order=1), silent)
            kinds = [kind for kind in ("certified", "estimated") if "value" in bound.get(kind, {})]
            cell["bound"] = {kind: bound[kind]["value"] / bound["outputs"] for kind in kinds}
        return cell

    def deployed(self, divisor: int) -> dict[str, Any]:
        """The graphs of one size: sizes of the files, latencies against the original, one thread.

        They are those of the quickest reduction, for neither depends on the values of poles and residues.
        """
        task, _ = self._in_form(divisor)
        network = task.replaced(self._systems("balanced", divisor))
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            streaming = export(task.traced(network), task.length, Options(order=1), folder, silent).streaming
            return {
                "bytes": {file.stem: file.stat().st_size for file in sorted(folder.glob("*.onnx"))},
                "streams": streaming.available,
                **self._latencies(folder, streaming.available),
            }

    def _in_form(self, divisor: int) -> tuple[Task, Teacher]:
        """The layers in the form that a build gives them at a size, and a teacher for it."""
        task = in_form(self._task, Options(order=1).feedthrough, orders_at(self._task.systems, divisor))
        own = tuple(name for name, system in task.systems.items() if system.after_sample)
        return self._formed.setdefault(own, (task, Teacher(task.model, task.systems)))

    def _systems(self, way: str, divisor: int) -> dict[str, System]:
        if (way, divisor) in self._made:
            return self._made[way, divisor]
        task, teacher = self._in_form(divisor)
        orders = orders_at(task.systems, divisor)
        if way in METHODS:
            reductions = reduce_layers(task.systems, orders, way, task.length)
            made = {name: reduction.system for name, reduction in reductions.items()}
        elif way == "spectrum":
            signals = calibration_signals(task, orders)
            start = self._systems("gradient", divisor)
            made = calibrate_spectrum(teacher, task.model, task.systems, start, signals)
        else:
            network = task.replaced(self._systems("spectrum", divisor))
            match(teacher, network, calibration_signals(task, orders), task.source.metric, self._matching)
            made = deployed_systems(network)
        self._made[way, divisor] = made
        return made

    def _judge(self, outputs: Mapping[str, NDArray[np.float32]]) -> float:
        if not self._task.samples.labels:
            raise SystemExit(f"{self._task.source.given} has no labels: there is nothing to put in a table.")
        ((name, labels),) = self._task.samples.labels.items()
        answers = outputs[name]
        if self._task.source.metric == "nrmse":
            return float(normalised_error(answers, labels))
        return float((answers.argmax(1) == labels).mean())

    def _latencies(self, folder: Path, streams: bool) -> dict[str, Any]:
        task = self._task
        sample = task.first
        tensors = [torch.from_numpy(value) for value in sample.values()]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with Model(folder / "offline.onnx") as model, torch.no_grad():
                candidates: dict[str, Callable[[], object]] = {
                    "original": lambda: task.model(*tensors),
                    "offline": lambda: model.run(sample),
                }
                if streams:
                    stream = Stream(folder / "stream.onnx")
                    step = {name: value.take([0], task.time_axis) for name, value in sample.items()}
                    candidates["step"] = lambda: stream.push(step)
                compared = interleaved(candidates, baseline="original", rounds=ROUNDS, budget=BUDGET)
        finally:
            torch.set_num_threads(threads)
        ratio = compared.ratio("offline")
        return {
            "processor": processor_name(),
            "rounds": compared.rounds,
            "seconds": {name: compared.median(name) for name in candidates},
            "offline_to_original": [ratio.ratio, ratio.low, ratio.high],
        }
