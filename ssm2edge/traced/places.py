"""Values that are computed of the places of samples, and of nothing else: run for any places, not only from the first on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.traced.nodes import operator_name
from ssm2edge.traced.positions import needed_for, values_at
from ssm2edge.traced.program import TracedModel, contains_symbol
from ssm2edge.traced.running import held_tensors

TRIED = 40
"""Steps of the sequences on which values are compared, in multiples."""


class PlacesProgram:
    """The part of a program that makes a value of the length of the input, with other places in the place of ``arange``.

    Parameters
    ----------
    traced
        The model.
    node
        A positional value; see :func:`ssm2edge.traced.positions.positional`.
    """

    def __init__(self, traced: TracedModel, node: fx.Node) -> None:
        self._traced, self._node = traced, node
        needed = needed_for([node])
        self._nodes = [x for x in traced.program.graph.nodes if x in needed]
        self._held = held_tensors(traced.program)

    def at(self, places: Tensor) -> Tensor:
        """Return the value for samples at some places, ``(count,)`` int64."""
        count = places.shape[0]
        values: dict[fx.Node, Any] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                values[node] = self._held.get(node.name)
            elif operator_name(node) == "sym_size":
                size = node.meta["val"]
                values[node] = count if contains_symbol(size, self._traced.time_symbol) else 1
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: values[argument])
                if operator_name(node) == "arange" and self._traced.time_axes(node.meta["val"]):
                    # arange(end), arange(start, end), arange(start, end, step)
                    first = args[0] if len(args) > 1 else 0
                    step = args[2] if len(args) > 2 else 1
                    values[node] = (first + step * places).to(node.meta["val"].dtype)
                else:
                    values[node] = node.target(*args, **kwargs)
        value: Tensor = values[self._node]
        return value

    def are_places(self, axis: int) -> bool:
        """Return True if the value of every sample depends on its place alone, along an axis.

        It is compared with the values for whole sequences of two lengths, at places in another order and twice.
        """
        lengths = [self._traced.multiple * steps for steps in (TRIED, 2 * TRIED + 1)]
        places = torch.cat((torch.arange(lengths[0]).flip(0), torch.arange(0, lengths[0], 3)))
        try:
            found = self.at(places)
            for length in lengths:
                (whole,) = values_at(self._traced.program, [self._node], self._traced.inputs, length)
                if not torch.allclose(found, whole.index_select(axis, places), 1e-5, 1e-6):
                    return False
        except Exception:  # torch raises what it likes where a size is no count of places
            return False
        return True
