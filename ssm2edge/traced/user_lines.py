"""The operation and the user's line that fix or bound a traced length; the exporter forgets both."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import sympy
import torch
from torch._guards import SLoc
from torch._ops import OpOverload
from torch.fx.experimental.symbolic_shapes import ShapeEnv

OURS = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parent.parent}/", contextlib.__file__, "<frozen")
"""Code of this package, of torch and between the two: the rest is the user's."""

SMALL = 2
"""Sizes up to this are excepted by the exporter itself."""


class UserLines:
    """Lines of the user's code behind the exporter's conditions on sizes."""

    def __init__(self) -> None:
        self._sizes: ShapeEnv | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the user's line of every condition that the exporter finds meanwhile."""
        found = ShapeEnv._get_sloc

        def located(sizes: ShapeEnv, *args: Any, **kwargs: Any) -> SLoc:
            self._sizes = sizes
            return SLoc(found(sizes, *args, **kwargs).framework_loc, calling())

        ShapeEnv._get_sloc = located  # type: ignore[method-assign, assignment]  # for the time of one export
        try:
            yield
        finally:
            ShapeEnv._get_sloc = found  # type: ignore[method-assign]  # as above

    def of_constant(self) -> str:
        """Return the operation and line that take a size for a constant, or else bound it; empty where none is known."""
        if self._sizes is None:
            return ""
        fixed = [
            place for symbol, place in self._sizes.replacements_slocs.items() if _is_number(self._sizes.replacements[symbol])
        ]
        bounding = [guard.sloc for guard in self._sizes.guards if _bounds(guard.expr)]
        return next((place.maybe_user_loc for place in (*fixed, *bounding) if place.maybe_user_loc), "")


def line_of(error: BaseException) -> str:
    """Return the innermost line of the user's code that raised an error; empty where it was none of the user's."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        if not _is_ours(trace.tb_frame):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


PACKING = ("pack_padded_sequence", "pad_packed_sequence", "pack_sequence")
"""Functions of torch that make or undo sequences of different lengths in one tensor."""


def is_of_packing(error: BaseException) -> bool:
    """Return True if an error came through one of these functions, or through a layer of torch that got what they make."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name in PACKING or (_is_ours(frame) and frame.f_locals.get("batch_sizes") is not None):
            return True
        trace = trace.tb_next
    return False


def calling() -> str:
    """Return the user's line that runs now, and the operator of torch that it calls."""
    frame: FrameType | None = sys._getframe(1)
    operator = ""
    while frame is not None and _is_ours(frame):
        called = frame.f_locals.get("func", frame.f_locals.get("self"))
        if isinstance(called, OpOverload):
            operator = f"the operation {called} at "
        frame = frame.f_back
    return "" if frame is None else f"{operator or 'line '}{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(OURS)


def _is_number(size: object) -> bool:
    return isinstance(size, sympy.Integer)


def _bounds(condition: object) -> bool:
    """Return True for a condition that compares one size with a number."""
    if not isinstance(condition, sympy.core.relational.Relational) or len(condition.free_symbols) != 1:
        return False
    return any(_is_number(side) and int(side) > SMALL for side in condition.args)
