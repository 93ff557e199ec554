"""Gains of a network for small errors of its layers, by backpropagation on unlabelled samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.orders.study import Study
from ssm2edge.traced.network import BANK, MIMO, operator

MOST_OUTPUTS = 16
"""With more outputs per sample, random combinations of them stand for all."""

SEED = 0


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Gradients at one layer.

    Attributes
    ----------
    inputs
        ``(samples, channels, time)``, or ``(samples, time, inputs)``: the inputs of the layer.
    gradients
        Of the shape of its outputs, with the probes before: the sum of squares over probes of ``<gradient, error>`` is, to
        first order, the squared change of a sample's outputs.
    """

    inputs: Tensor
    gradients: Tensor


def sensitivities(study: Study) -> dict[str, Sensitivity]:
    """Return the derivatives of the outputs by the output of each layer's LTI part."""
    entering: dict[str, Tensor] = {}
    leaving: dict[str, Tensor] = {}

    def watch(node: fx.Node, args: tuple[Any, ...], value: Any) -> Any:
        if operator(node) not in (BANK, MIMO):
            return value
        name = study.network.layers[node]
        entering[name] = args[0].detach()
        # A zero to differentiate by; the network behind it still depends on the layers before it.
        leaving[name] = torch.zeros_like(value).requires_grad_()
        return value + leaving[name]

    with torch.enable_grad():
        values = study.network.run(study.systems, study.inputs, watch)
        outputs = torch.cat([value.flatten(1) for value in values], dim=1)
        gradients: dict[str, list[Tensor]] = {name: [] for name in leaving}
        for probe in _probes(outputs):
            parts = torch.autograd.grad((outputs * probe).sum(), list(leaving.values()), retain_graph=True)
            for name, part in zip(leaving, parts, strict=True):
                gradients[name].append(part)
    return {name: Sensitivity(entering[name], torch.stack(gradients[name])) for name in leaving}


def _probes(outputs: Tensor) -> list[Tensor]:
    count = outputs.shape[1]
    if count <= MOST_OUTPUTS:
        return [torch.eye(count, dtype=outputs.dtype)[i].expand_as(outputs) for i in range(count)]
    generator = torch.Generator().manual_seed(SEED)
    signs = torch.randint(0, 2, (MOST_OUTPUTS, *outputs.shape), generator=generator).to(outputs) * 2 - 1
    return [sign / MOST_OUTPUTS**0.5 for sign in signs]
