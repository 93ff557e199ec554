"""Costs of a choice of orders on the device: its graphs, written and measured."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssm2edge.artifact import Reference
from ssm2edge.calibration import SAMPLES, as_tuple, rounding_costs
from ssm2edge.errors import UserError
from ssm2edge.options import Options, bytes_of
from ssm2edge.orders import Around, Level
from ssm2edge.orders.judging import as_reduced
from ssm2edge.original.task import Task
from ssm2edge.quantisation import PLAIN, inputs_of, levels_of, stored_bytes_of, weights_of
from ssm2edge.quantisation.grid import MOST
from ssm2edge.reduction import Reduction
from ssm2edge.stages.calibrate import calibration_signals
from ssm2edge.stages.export import export
from ssm2edge.stages.progress import silent
from ssm2edge.stages.quantise import is_rounded, round_network, set_apart
from ssm2edge.systems.division import TINY
from ssm2edge.verification import Subject
from ssm2edge.verification.budget import largest_graph, step_microseconds
from ssm2edge.verification.check import Check, within


def ram_of(folder: Path, task: Task) -> int:
    """Return the bytes of RAM of the stream in a folder, as C.

    Raises
    ------
    UserError
        If the model does not stream, or has no C form.
    """
    stream = folder / "stream.onnx"
    if not stream.exists():
        raise UserError("A largest RAM is that of the stream as C, but this model does not stream; ask for --max-bytes.")
    # The emitter is not needed by other builds.
    from ssm2edge.firmware.ram import ram_of as of_stream

    return of_stream(stream, task.source.task)


def ram(folder: Path, task: Task, options: Options) -> Check | None:
    """Check the bytes of RAM against the limit that chose the size."""
    limit = bytes_of(options.max_ram)
    if limit is None:
        return None
    return within("budget.ram", float(ram_of(folder, task)), float(limit), "bytes of RAM of the stream as C, its stack included")


def around_of(task: Task, options: Options) -> Around | None:
    """Return the weights around the layers, where a budget of bytes is for them, too: ``auto`` precision with calibration."""
    if options.max_bytes is None or options.precision != "auto" or options.calibrate == "none":
        return None

    def levels() -> dict[str, dict[int, Level]]:
        network = copy.deepcopy(task.full)
        signals = calibration_signals(task, dict.fromkeys(task.layers, 1))
        weights = weights_of(network)
        batch = tuple(x[:SAMPLES] for x in signals.inputs)

        def answers() -> Tensor:
            with torch.no_grad():
                return torch.cat([y.double().flatten() for y in as_tuple(network(*batch))])

        plain = answers()
        size = max(float(plain.square().sum()), TINY)
        inputs = inputs_of(network, weights, signals)
        counts = {name: levels_of(weight, MOST) for name, weight in weights.items()}
        costs = rounding_costs(weights, inputs, counts, lambda: float((answers() - plain).square().sum()) / size)
        return {
            name: {bits: Level(stored_bytes_of(weight, bits), costs[name].get(bits, 0.0)) for bits in (*counts[name], PLAIN)}
            for name, weight in weights.items()
        }

    def measured(reductions: Mapping[str, Reduction], bits: Mapping[str, int]) -> int:
        return largest_of(task, options, reductions, bits)

    return Around(levels, measured)


def smallest_costs_of(task: Task, options: Options) -> Callable[[Mapping[str, Reduction]], Iterator[float]] | None:
    """Return what measures reductions where nothing may cost less: with the fewest bits around them, then with none fewer."""
    if around_of(task, options) is None:
        cost = cost_of(task, options)
        return None if cost is None else lambda reductions: map(cost, (reductions,))
    found = {name: levels_of(weight, MOST) for name, weight in weights_of(task.full).items()}
    bits = {name: counts[0] for name, counts in found.items() if counts}
    return lambda reductions: (float(largest_of(task, options, reductions, chosen)) for chosen in (bits, {}))


def largest_of(task: Task, options: Options, reductions: Mapping[str, Reduction], bits: Mapping[str, int] | None) -> int:
    """Return the bytes of the largest graph of reductions, with the weights around them in the bits chosen."""
    return _written(task, options, _rounded(task, options, reductions, bits))


def excess_of(task: Task, options: Options) -> Callable[[nn.Module], int] | None:
    """Return what measures the bytes by which a model's graphs exceed the largest number, below 0 if they do not."""
    limit = bytes_of(options.max_bytes)
    if limit is None:
        return None

    def excess(model: nn.Module) -> int:
        if options.retrain is not None:
            model = copy.deepcopy(model)
            set_apart(model, is_rounded(options))
        return _written(task, options, model) - limit

    return excess


def _rounded(task: Task, options: Options, reductions: Mapping[str, Reduction], bits: Mapping[str, int] | None) -> nn.Module:
    model = task.replaced(as_reduced(reductions))
    chosen = None if bits is None else {name: count for name, count in bits.items() if count != PLAIN}
    round_network(model, task, options, chosen)
    if options.retrain is not None or (is_rounded(options) and options.calibrate == "match" and bits != {}):
        set_apart(model, is_rounded(options))
    return model


def _written(task: Task, options: Options, model: nn.Module) -> int:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(task.traced(model), task.length, options, folder, silent)
        return max(path.stat().st_size for path in folder.glob("*.onnx"))


def cost_of(task: Task, options: Options) -> Callable[[Mapping[str, Reduction]], float] | None:
    """Return what measures reductions: bytes of the largest graph or of RAM, or microseconds of a step; None without limit."""
    if options.max_bytes is None and options.max_ram is None and options.max_latency is None:
        return None

    def cost(reductions: Mapping[str, Reduction]) -> float:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            export(task.traced(_rounded(task, options, reductions, None)), task.length, options, folder, silent)
            if options.max_ram is not None:
                return float(ram_of(folder, task))
            # Inputs to time the graphs on; nobody looks at the answers.
            none = {name: np.zeros((1, 1), np.float32) for name in task.outputs}
            subject = Subject.staged(folder, Reference(task.first, none, none, {}), {})
            return float(largest_graph(subject)[1]) if options.max_bytes is not None else step_microseconds(subject)

    return cost
