"""Kernels as models of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

from ssm2edge.lowering.building import OPSET, Builder

Sizes = Sequence[int | str]


def kernel_model(
    build: Callable[..., Sequence[ir.Value]],
    inputs: Mapping[str, Sizes],
    constants: Mapping[str, NDArray[np.float32]],
    outputs: Mapping[str, Sizes],
) -> onnx.ModelProto:
    """A graph of what ``build(op, *inputs, *constants)`` returns, with these sizes."""
    op = Builder()
    given = [ir.val(name, ir.DataType.FLOAT, shape) for name, shape in inputs.items()]
    stored = [ir.val(name, const_value=ir.tensor(value, name=name)) for name, value in constants.items()]
    found = build(op, *given, *stored)
    for value, (name, shape) in zip(found, outputs.items(), strict=True):
        value.name, value.dtype, value.shape = name, ir.DataType.FLOAT, ir.Shape(shape)
    graph = ir.Graph(given, found, nodes=op.nodes, initializers=stored, opset_imports={"": OPSET}, name="kernel")
    model = ir.Model(graph, ir_version=9)
    passes.RemoveUnusedNodesPass()(model)
    passes.NameFixPass()(model)
    written = ir.to_proto(model)
    assert {node.domain for node in written.graph.node} == {""}
    onnx.checker.check_model(written, full_check=True)
    return written
