"""Modules in the places of others."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Placed(Protocol):
    """Method of modules in layers' places that have to do something to the module around them."""

    def placed_in(self, operator: nn.Module) -> None:
        """Prepare the module around, in place."""


def put(model: nn.Module, place: str, module: nn.Module) -> None:
    """Put a module in a place of a model, given by its dotted path."""
    parent, _, attribute = place.rpartition(".")
    around = model.get_submodule(parent)
    setattr(around, attribute, module)
    if isinstance(module, Placed):
        module.placed_in(around)
