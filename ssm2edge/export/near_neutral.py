"""Keep numbers that are almost neutral: the exporter's optimiser takes ``x + 1e-12`` and ``x * 1.000005`` for ``x``.

Its rules compare constants of no axes with 0 and 1 to within 1e-8 and 1e-5 (onnxscript, ``rewriter/rules/common/_no_op.py``).  A
model that divides by ``norm + 1e-12`` would divide silence by zero, and the number that keeps states from becoming subnormal
would be gone.  The rules pass by constants of one axis, so that is how such numbers are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WITHIN = 1e-4
"""Distance from the neutral number within which it is written so: more than the rules' tolerance."""


def near_neutral_decompositions() -> dict[object, Callable[..., Any]]:
    """Return the decompositions of sums and products of tensors with such numbers, for `ExportedProgram.run_decompositions`."""
    aten = torch.ops.aten

    def summed(x: Tensor, other: object, *, alpha: float = 1) -> Any:
        constant = _written(x, other, neutral=0.0)
        return NotImplemented if constant is None else aten.add.Tensor(x, constant, alpha=alpha)

    def less(x: Tensor, other: object, *, alpha: float = 1) -> Any:
        constant = _written(x, other, neutral=0.0)
        return NotImplemented if constant is None else aten.sub.Tensor(x, constant, alpha=alpha)

    def times(x: Tensor, other: object) -> Any:
        constant = _written(x, other, neutral=1.0)
        return NotImplemented if constant is None else aten.mul.Tensor(x, constant)

    def divided(x: Tensor, other: object) -> Any:
        constant = _written(x, other, neutral=1.0)
        return NotImplemented if constant is None else aten.div.Tensor(x, constant)

    return {aten.add.Tensor: summed, aten.sub.Tensor: less, aten.mul.Tensor: times, aten.div.Tensor: divided}


def _written(x: object, other: object, neutral: float) -> Tensor | None:
    """Return the number as a tensor of one axis; None where it is no number, or exactly neutral, or far from it."""
    if not isinstance(x, Tensor) or x.ndim == 0 or not x.is_floating_point() or not isinstance(other, float):
        return None
    if other == neutral or abs(other - neutral) > WITHIN:
        return None
    return x.new_full((1,), other)
