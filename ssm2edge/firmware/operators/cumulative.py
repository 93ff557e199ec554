"""Running sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.language import c_literal, c_type
from ssm2edge.firmware.lowering import Lowering


def cumsum(operation: Operation, lowering: Lowering) -> None:
    """Add up elements along an axis."""
    source, output = lowering.dense(operation.inputs[0]), operation.outputs[0]
    axis = (operation.fixed(1) or [0])[0] % len(output.shape)
    size = output.shape[axis]
    inner = int(np.prod(output.shape[axis + 1 :]))
    outer = source.count // size // inner
    exclusive, reverse = operation.integer("exclusive", 0), operation.integer("reverse", 0)
    target, kind = lowering.scratch(output), c_type(output.dtype)

    def text(pointers: Sequence[str]) -> list[str]:
        x, y = pointers
        lines = [f"const {kind} x = {x}[place];", f"{y}[place] = sum;", "sum += x;"]
        step = f"{size - 1} - k" if reverse else "k"
        return [
            f"for (int i = 0; i < {outer}; ++i)",
            f"  for (int j = 0; j < {inner}; ++j) {{",
            f"    {kind} sum = {c_literal(output.dtype.type(0))};",
            f"    for (int k = 0; k < {size}; ++k) {{",
            f"      const int place = (i * {size} + {step}) * {inner} + j;",
            *(f"      {line}" for line in (lines if exclusive else [f"sum += {x}[place];", f"{y}[place] = sum;"])),
            "    }",
            "  }",
        ]

    lowering.call([source], [target], text)
    lowering.bind(output, target)
