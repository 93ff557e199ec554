"""A model's outputs computed in float64: what tells which of two float32 graphs moves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Float64Reference:
    """The model with its blocks, its float32 weights taken as they are and everything computed in float64.

    Parameters
    ----------
    model
        With its SSM layers replaced, in eval mode; it is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).double().eval()
        self._known: dict[tuple[tuple[int, ...], ...], dict[str, NDArray[np.float64]]] = {}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Outputs by the name they have in the graphs; signals of the same shapes are taken to be those of before."""
        shapes = tuple(value.shape for value in inputs.values())
        if shapes not in self._known:
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            wide = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
            with torch.no_grad():
                found = self._model(**wide)
            outputs = (found,) if isinstance(found, Tensor) else tuple(found)
            names = ["output"] if len(outputs) == 1 else [f"output.{k}" for k in range(len(outputs))]
            self._known[shapes] = {name: value.numpy() for name, value in zip(names, outputs, strict=True)}
        return self._known[shapes]
