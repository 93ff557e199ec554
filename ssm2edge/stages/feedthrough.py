"""The feedthrough of layers that read the state after the sample: their own, or a full matrix.

In paper form such a layer's first lag is kept exactly by a matrix of outputs times inputs, and errs less at the same order; as it
is it stores fewer numbers.  See docs/method.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.stages.limits import larger_layers

EXPECTED = 0.5
"""Share of the states that is taken to be kept at most where it is still to be found."""


def with_feedthrough(task: Task, options: Options) -> Task:
    """Put layers into the form that the options ask for; of the orders, what is known before any layer is reduced."""
    keep = EXPECTED if options.keep is None else options.keep
    orders = {name: options.order or max(1, round(keep * system.order)) for name, system in task.systems.items()}
    return in_form(task, options.feedthrough, orders)


def in_form(task: Task, feedthrough: str, orders: Mapping[str, int]) -> Task:
    """Put layers into a form.

    Parameters
    ----------
    task
        Layers as they were read.
    feedthrough
        ``own``: none is moved; ``full``: all are moved into paper form; ``fitting``: those that store no more numbers in paper
        form at their order than the layer does.
    orders
        By layer.
    """
    after = {name: layer for name, layer in task.layers.items() if layer.system.after_sample}
    if feedthrough == "own" or not after:
        return task
    moved = {name: replace(layer, system=layer.system.paper_form()) for name, layer in after.items()}
    if feedthrough == "fitting":
        known = {name: min(orders[name], layer.system.order) for name, layer in moved.items()}
        for name in larger_layers(task.model, moved, known):
            moved[name] = after[name]
    return replace(task, layers={**task.layers, **moved})
