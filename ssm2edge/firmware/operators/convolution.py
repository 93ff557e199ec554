"""Convolutions over one or two axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.operators.integer_weights import rows_of
from ssm2edge.firmware.operators.windows import Windows


def conv(operation: Operation, lowering: Lowering) -> None:
    """Convolve channels in groups."""
    source, weight = operation.inputs[:2]
    assert source is not None
    assert weight is not None
    if source.shape[0] != 1 or source.dtype != np.float32:
        raise FirmwareError(operation.refusal("convolves several sequences at a time, or others than float32"))
    windows = Windows.of(operation, list(weight.shape[2:]))
    output, groups = operation.outputs[0], operation.integer("group", 1)
    made, each, inner = weight.shape[0], weight.shape[0] // groups, weight.shape[1]
    known = weight.constant
    table = None if known is None or known.dtype != np.float32 else rows_of(lowering, known.reshape(made, -1), weight.name)
    reads = [lowering.dense(source), *((lowering.dense(weight),) if table is None else table.reads)]
    bias = operation.inputs[2] if len(operation.inputs) > 2 else None
    if bias is not None:
        reads.append(lowering.dense(bias))
    target = lowering.scratch(output)
    (rows, columns), (height, width), (up, across) = windows.made, windows.read, windows.kernel

    def text(pointers: Sequence[str]) -> list[str]:
        x, *rest, y = pointers
        at = f"((o * {inner} + i) * {up} + k) * {across} + l"
        tap = f"{rest[0]}[{at}]" if table is None else table.value(rest[:2], at)
        channel = "i" if groups == 1 else f"(o / {each} * {inner} + i)"
        sample = f"{x}[({channel} * {height} + row) * {width} + column]"
        guard = f"if ({windows.inside('row', 'column')}) " if windows.padded else ""
        return [
            f"for (int o = 0; o < {made}; ++o)",
            f"  for (int r = 0; r < {rows}; ++r)",
            f"    for (int t = 0; t < {columns}; ++t) {{",
            f"      float sum = {'0' if bias is None else f'{rest[-1]}[o]'};",
            f"      for (int i = 0; i < {inner}; ++i)",
            f"        for (int k = 0; k < {up}; ++k)",
            f"          for (int l = 0; l < {across}; ++l) {{",
            f"            const int row = {windows.place(0, 'r', 'k')}, column = {windows.place(1, 't', 'l')};",
            f"            {guard}sum += {sample} * {tap};",
            "          }",
            f"      {y}[(o * {rows} + r) * {columns} + t] = sum;",
            "    }",
        ]

    lowering.call(reads, [target], text, (), made * rows * columns * inner * up * across)
    lowering.bind(output, target)
