"""Transposed convolutions over one axis or two: every sample adds a window of outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering


def conv_transpose(operation: Operation, lowering: Lowering) -> None:
    """Emit a transposed convolution in groups."""
    source, weight = operation.inputs[:2]
    assert source is not None
    assert weight is not None
    axes = len(weight.shape) - 2
    if source.shape[0] != 1 or source.dtype != np.float32 or axes > 2:
        raise FirmwareError(operation.refusal("goes over several sequences, more than two axes, or others than float32"))
    if operation.attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in operation.attributes:
        raise FirmwareError(operation.refusal("leaves the number of samples to cut to the runtime"))
    output, groups = operation.outputs[0], operation.integer("group", 1)
    inner, each = weight.shape[0] // groups, weight.shape[1]
    made = each * groups
    bias = operation.inputs[2] if len(operation.inputs) > 2 else None
    reads = [lowering.dense(source), lowering.dense(weight)] + ([] if bias is None else [lowering.dense(bias)])
    target = lowering.scratch(output)
    one = [1] * (2 - axes)
    up, across = (*one, *weight.shape[2:])
    rows, columns = (*one, *output.shape[2:])
    height, width = (*one, *source.shape[2:])
    down, along = (*one, *operation.integers("strides", [1] * axes))
    tall, wide = (*one, *operation.integers("dilations", [1] * axes))
    top, left = (*[0] * (2 - axes), *operation.integers("pads", [0] * 2 * axes)[:axes])

    def text(pointers: Sequence[str]) -> list[str]:
        x, w, *rest, y = pointers
        return [
            f"for (int n = 0; n < {made * rows * columns}; ++n)",
            f"  {y}[n] = {f'{rest[0]}[n / {rows * columns}]' if rest else '0'};",
            f"for (int i = 0; i < {inner * groups}; ++i)",
            f"  for (int o = 0; o < {each}; ++o)",
            f"    for (int r = 0; r < {height}; ++r)",
            f"      for (int t = 0; t < {width}; ++t)",
            f"        for (int k = 0; k < {up}; ++k)",
            f"          for (int l = 0; l < {across}; ++l) {{",
            f"            const int row = {down} * r + {tall} * k - {top}, column = {along} * t + {wide} * l - {left};",
            f"            if (row >= 0 && row < {rows} && column >= 0 && column < {columns})",
            f"              {y}[((i / {inner} * {each} + o) * {rows} + row) * {columns} + column] +=",
            f"                {x}[(i * {height} + r) * {width} + t] * {w}[((i * {each} + o) * {up} + k) * {across} + l];",
            "          }",
        ]

    lowering.call(reads, [target], text, (), inner * groups * each * height * width * up * across)
    lowering.bind(output, target)
