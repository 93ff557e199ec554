"""Layers that several parts of a model share, under one name while the model is exported.

The exporter names the constants of a shared layer by the last of its places; this package uses the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Again(nn.Module):
    """Calls a shared module from a further place; the module is registered in its first place alone."""

    def __init__(self, shared: nn.Module) -> None:
        super().__init__()
        # In a tuple, because modules register the modules that are their attributes.
        self._shared = (shared,)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._shared[0](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_shared"][0], name)


def name_shared_once(model: nn.Module, of: Callable[[nn.Module], bool]) -> None:
    """Give shared modules that ``of`` picks one name, the first, in place."""
    seen: set[int] = set()

    def visit(module: nn.Module) -> None:
        for name, child in module._modules.items():
            if child is None:
                continue
            if id(child) in seen and of(child):
                setattr(module, name, Again(child))
            elif id(child) not in seen:
                seen.add(id(child))
                visit(child)

    visit(model)
