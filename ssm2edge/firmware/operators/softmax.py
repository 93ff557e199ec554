"""Shares of exponentials along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering


def softmax(operation: Operation, lowering: Lowering) -> None:
    """Emit exponentials by their sum."""
    _emit(operation, lowering, ["exp"], "exp_of({x}[place] - top)", "{y}[place] / sum")


def log_softmax(operation: Operation, lowering: Lowering) -> None:
    """Emit the logarithms of the shares."""
    _emit(operation, lowering, ["exp", "log"], "exp_of({x}[place] - top)", "{x}[place] - top - log_of(sum)")


def _emit(operation: Operation, lowering: Lowering, helpers: list[str], term: str, share: str) -> None:
    source, output = lowering.dense(operation.inputs[0]), operation.outputs[0]
    if output.dtype != np.float32:
        raise FirmwareError(operation.refusal("takes others than float32"))
    axis = operation.integer("axis", -1) % len(output.shape)
    size, inner = output.shape[axis], int(np.prod(output.shape[axis + 1 :]))
    outer, target = source.count // size // inner, lowering.scratch(output)

    def text(pointers: Sequence[str]) -> list[str]:
        x, y = pointers
        place = f"const int place = (i * {size} + k) * {inner} + j;"
        each = f"    for (int k = 0; k < {size}; ++k) {{"
        return [
            f"for (int i = 0; i < {outer}; ++i)",
            f"  for (int j = 0; j < {inner}; ++j) {{",
            "    float top = -INFINITY, sum = 0;",
            each,
            f"      {place}",
            f"      top = {x}[place] > top ? {x}[place] : top;",
            "    }",
            each,
            f"      {place}",
            f"      {y}[place] = {term.format(x=x, y=y)};",
            f"      sum += {y}[place];",
            "    }",
            each,
            f"      {place}",
            f"      {y}[place] = {share.format(x=x, y=y)};",
            "    }",
            "  }",
        ]

    lowering.call([source], [target], text, helpers)
    lowering.bind(output, target)
