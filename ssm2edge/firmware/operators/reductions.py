"""Sums, means and extremes over axes."""

from __future__ import annotations

import math

import numpy as np

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.kernels import Formula, Loop, Store
from ssm2edge.firmware.language import c_literal, c_type
from ssm2edge.firmware.lowering import Emitter, Lowering
from ssm2edge.firmware.views import View

RULES = {
    "sum": ("{0}", "{0} + {1}", "0"),
    "mean": ("{0}", "{0} + {1}", "0"),
    "l2": ("{0} * {0}", "{0} + {1}", "0"),
    "square": ("{0} * {0}", "{0} + {1}", "0"),
    "prod": ("{0}", "{0} * {1}", "1"),
    "max": ("{0}", "({1} > {0} ? {1} : {0})", "-INFINITY"),
    "min": ("{0}", "({1} < {0} ? {1} : {0})", "INFINITY"),
}
"""By kind: the formula of an element, how two become one, and what there is before the first."""


def emitter(kind: str) -> Emitter:
    """Return the emitter of a kind of reduction."""

    def emit(operation: Operation, lowering: Lowering) -> None:
        source = operation.inputs[0]
        assert source is not None
        given = operation.fixed(1) if len(operation.inputs) > 1 else operation.integers("axes", [])
        if not given and operation.integer("noop_with_empty_axes", 0):
            lowering.reshape(operation, operation.outputs[0].shape)
            return
        axes = {axis % len(source.shape) for axis in given or range(len(source.shape))}
        reduce_axes(operation, lowering, kind, axes)

    return emit


def global_average(operation: Operation, lowering: Lowering) -> None:
    """Emit the means of whole channels."""
    source = operation.inputs[0]
    assert source is not None
    reduce_axes(operation, lowering, "mean", set(range(2, len(source.shape))))


def reduce_axes(operation: Operation, lowering: Lowering, kind: str, axes: set[int]) -> None:
    """Emit a reduction over axes; over one element it is that element."""
    source, output = lowering.view(operation.inputs[0]), operation.outputs[0]
    count = math.prod(source.shape[axis] for axis in axes)
    if count == 1 and kind in ("sum", "mean", "prod", "max", "min"):
        lowering.reshape(operation, output.shape)
        return
    ctype = c_type(output.dtype)
    text, join, first = RULES[kind]
    if output.dtype.kind == "i" and first.endswith("INFINITY"):
        first = "INT64_MIN" if first.startswith("-") else "INT64_MAX"
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(source.shape))
    sums = lowering.scratch(output, kept)
    strides = tuple(0 if axis in axes else stride for axis, stride in enumerate(sums.strides))
    lowering.reduce(source, View(sums.buffer, source.shape, strides), text, join, first, ctype)
    found = sums.reshaped(output.shape)
    assert found is not None
    lowering.bind(output, found)
    if kind in ("mean", "l2"):
        root = "sqrtf({0})" if output.dtype == np.float32 else "sqrt({0})"
        finish = root if kind == "l2" else f"{{0}} * {c_literal(output.dtype.type(1 / count))}"
        target = lowering.scratch(output)
        lowering.append(Loop(output.shape, [lowering.element(found), Formula(finish, (0,), ctype)], [Store(target, 1)]))
        lowering.bind(output, target)
