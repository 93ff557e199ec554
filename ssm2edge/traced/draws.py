"""The operation and the user's line that draw random numbers in a model's forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from ssm2edge.traced.user_lines import calling


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Notes the first operation that takes numbers from a generator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.place: str = ""

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.place and torch.Tag.nondeterministic_seeded in func.tags:
            self.place = calling()
        return func(*args, **(kwargs or {}))


def first_draw(run: Callable[[], object]) -> str:
    """Return the first operation that draws random numbers while a function runs, and its line; empty where none does."""
    draws = _Draws()
    with draws:
        run()
    return draws.place
