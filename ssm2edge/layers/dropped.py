"""Values beside a layer's output: None stays None; a state is dropped, and an error if the model uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor

from ssm2edge.layers.contract import LayerError


class DroppedState:
    """Takes the place of a layer's state, or of another value after its output; the model may pass it on, but not use it.

    The states of a reduced layer differ from the original's, and the streaming graph carries them.
    """

    def _used(self) -> NoReturn:
        raise LayerError(
            "The model uses what a layer returns beside its output (its state), and a reduced layer has other states; let the "
            "model use the output alone: the streaming graph carries the states."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Copying and printing ask for names that may be missing.
            raise AttributeError(name)
        self._used()

    def __getitem__(self, index: object) -> Any:
        self._used()

    def __iter__(self) -> Any:
        self._used()

    @classmethod
    def __torch_function__(cls, *_: object) -> Any:
        cls._used(cls)  # type: ignore[arg-type]  # it needs nothing of the instance


def left_empty(answer: object) -> tuple[bool, ...] | None:
    """Return which values behind a layer's output are None; None if the answer neither is nor begins with a tensor."""
    if isinstance(answer, Tensor):
        return ()
    if type(answer) in (tuple, list) and len(answer) > 0 and isinstance(answer[0], Tensor):  # type: ignore[arg-type,index]  # just seen
        return tuple(value is None for value in answer[1:])  # type: ignore[index]  # a tuple or list
    return None


def answer_like(y: Tensor, container: type | None, empty: Sequence[bool]) -> Any:
    """Return an output in the form of the layer's answer: alone, or first in a tuple or list."""
    return y if container is None else container([y, *(None if none else DroppedState() for none in empty)])
