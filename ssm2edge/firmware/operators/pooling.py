"""Means and largest elements of windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.operators.windows import Windows


def average(operation: Operation, lowering: Lowering) -> None:
    """Emit means of windows; of a window that reaches beyond the samples, of those it covers unless zeros are to count."""
    _pool(operation, lowering, "0", "found = found + x", bool(operation.integer("count_include_pad", 0)))


def largest(operation: Operation, lowering: Lowering) -> None:
    """Emit the largest elements of windows."""
    if len(operation.outputs) > 1:
        raise FirmwareError(operation.refusal("has the places of the largest elements as an output"))
    _pool(operation, lowering, "-INFINITY", "found = x > found ? x : found", None)


def _pool(operation: Operation, lowering: Lowering, first: str, join: str, zeros: bool | None) -> None:
    source, output = operation.inputs[0], operation.outputs[0]
    assert source is not None
    if source.dtype != np.float32 or operation.integer("ceil_mode", 0):
        raise FirmwareError(operation.refusal("takes others than float32, or rounds the number of windows up"))
    windows = Windows.of(operation, operation.integers("kernel_shape", []))
    (rows, columns), (height, width), (up, across) = windows.made, windows.read, windows.kernel
    target, mean = lowering.scratch(output), zeros is not None
    channels = source.shape[0] * source.shape[1]

    def text(pointers: Sequence[str]) -> list[str]:
        x, y = pointers
        counted = mean and windows.padded and not zeros
        guard = f"if ({windows.inside('row', 'column')}) " if windows.padded else ""
        divisor = "(float)count" if counted else f"{float(up * across)}f"
        return [
            f"for (int o = 0; o < {channels}; ++o)",
            f"  for (int r = 0; r < {rows}; ++r)",
            f"    for (int t = 0; t < {columns}; ++t) {{",
            f"      float found = {first};",
            *(["      int count = 0;"] if counted else []),
            f"      for (int k = 0; k < {up}; ++k)",
            f"        for (int l = 0; l < {across}; ++l) {{",
            f"          const int row = {windows.place(0, 'r', 'k')}, column = {windows.place(1, 't', 'l')};",
            f"          {guard}{{",
            f"            const float x = {x}[(o * {height} + row) * {width} + column];",
            f"            {join};",
            *(["            ++count;"] if counted else []),
            "          }",
            "        }",
            f"      {y}[(o * {rows} + r) * {columns} + t] = found{f' / {divisor}' if mean else ''};",
            "    }",
        ]

    lowering.call([lowering.dense(source)], [target], text)
    lowering.bind(output, target)
