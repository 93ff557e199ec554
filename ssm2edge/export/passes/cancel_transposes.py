"""Transposes that later ones undo, taken out.

A layer written for ``(batch, channels, time)`` inside a model of ``(batch, time, channels)`` turns its values forth and back,
with elementwise operations in between.  onnxruntime removes such pairs too, but it also pulls a transpose that should stay where
it is (in front of a cut, see :func:`ssm2edge.lowering.siso_bank.sequence_function`) to where it meets another; so none is left.

Requires
    a graph whose functions are not inlined yet.
Ensures
    the same values and no more transposes than before.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import NodeProto, helper

from ssm2edge.export.passes.drop_time_axis import BINARY, UNARY


@dataclass(frozen=True)
class _Turned:
    """A value that is the transpose of another one, and not computed yet."""

    source: str
    permutation: tuple[int, ...]


def cancel_transposes(model: onnx.ModelProto) -> None:
    """Rewrite a graph in place."""
    graph = model.graph
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in graph.node for attribute in node.attribute):
        return  # a body may read any value of this graph by its own name
    scalars = {tensor.name for tensor in graph.initializer if all(size == 1 for size in tensor.dims) and len(tensor.dims) < 2}
    turned: dict[str, _Turned] = {}
    same: dict[str, str] = {}
    written: list[NodeProto] = []
    known: set[str] = set()

    def real(name: str) -> str:
        """A value's name, after computing it if it is a transpose that was put off."""
        name = same.get(name, name)
        if name in turned and name not in known:
            value = turned[name]
            written.append(helper.make_node("Transpose", [value.source], [name], perm=value.permutation))
            known.add(name)
        return name

    for node in graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "Transpose" and len(node.attribute) == 1:
            permutation = tuple(node.attribute[0].ints)
            before = turned.get(inputs[0])
            source = inputs[0] if before is None else before.source
            if before is not None:
                permutation = tuple(before.permutation[axis] for axis in permutation)
            if permutation == tuple(range(len(permutation))):
                same[node.output[0]] = source
            else:
                turned[node.output[0]] = _Turned(source, permutation)
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        waiting = {turned[name].permutation for name in inputs if name in turned}
        others = [name for name in inputs if name not in turned]
        elementwise = node.op_type in UNARY or node.op_type in BINARY
        if elementwise and len(waiting) == 1 and scalars.issuperset(others) and len(node.output) == 1:
            copy.input[:] = [turned[name].source if name in turned else name for name in inputs]
            copy.output[0] = f"{node.output[0]}.unturned"
            turned[node.output[0]] = _Turned(copy.output[0], *waiting)
        else:
            copy.input[:] = [real(name) for name in node.input]
        written.append(copy)
    for output in graph.output:
        if real(output.name) != output.name:
            written.append(helper.make_node("Identity", [same[output.name]], [output.name]))
    del graph.node[:]
    graph.node.extend(written)
