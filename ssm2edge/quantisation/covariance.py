"""Mean and covariance of what the weights of a network multiply, on samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm2edge.quantisation.weights import Weight


@dataclass(eq=False)
class Inputs:
    """Sums over the inputs of one weight.

    Attributes
    ----------
    products
        Of x x^T, ``(columns, columns)`` float64.
    total
        Of x.
    count
        Number of inputs.
    """

    products: Tensor
    total: Tensor
    count: int

    @property
    def mean(self) -> Tensor:
        """The mean input."""
        return self.total / self.count

    def covariance(self, centred: bool) -> Tensor:
        """Return the mean of x x^T; ``centred`` without that of the mean, where a bias takes up its share."""
        products = self.products / self.count
        return products - torch.outer(self.mean, self.mean) if centred else products


def inputs_of(network: nn.Module, weights: Mapping[str, Weight], batches: Iterable[tuple[Tensor, ...]]) -> dict[str, Inputs]:
    """Run a network on samples and return the sums for each weight whose inputs are known; weights that never run have none."""
    found: dict[str, Inputs] = {}
    listeners = []
    for name, weight in weights.items():

        def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name, weight: Weight = weight) -> None:
            rows = weight.inputs(args[0])
            if rows is None:
                return
            rows = rows.double()
            products, total = rows.mT @ rows, rows.sum(0)
            if name in found:
                known = found[name]
                known.products += products
                known.total += total
                known.count += len(rows)
            else:
                found[name] = Inputs(products, total, len(rows))

        listeners.append(weight.module.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            for batch in batches:
                network(*batch)
    finally:
        for listener in listeners:
            listener.remove()
    return found
