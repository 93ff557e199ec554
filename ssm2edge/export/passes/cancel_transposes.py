"""Take out transposes that later ones undo.

A layer written for ``(batch, channels, time)`` inside a model of ``(batch, time, channels)`` turns its values forth and back,
with elementwise operations in between.  onnxruntime removes such pairs too, but it also pulls a transpose that should stay where
it is (in front of a cut, see :func:`ssm2edge.lowering.siso_bank.sequence`) to where it meets another; so none is left.

Requires
    a graph without kernels yet.
Ensures
    the same values; transposes stand behind elementwise operations, and those that nothing reads any more are left to the removal
    of unused nodes.
"""

from __future__ import annotations

import onnx_ir as ir

from ssm2edge.export.passes.drop_time_axis import BINARY, UNARY
from ssm2edge.export.passes.sizes import constant_sizes
from ssm2edge.lowering.building import Builder


def cancel_transposes(graph: ir.Graph) -> None:
    """Rewrite a graph in place."""
    for node in list(graph):
        if _turned(node) is not None:
            _join_with_earlier(graph, node)
        elif node.op_type in UNARY or node.op_type in BINARY:
            _move_behind(graph, node)


def _turned(node: ir.Node | None) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Return what a transpose reads, and its permutation; None for other nodes."""
    if node is None or node.op_type != "Transpose" or node.inputs[0] is None or "perm" not in node.attributes:
        return None
    return node.inputs[0], tuple(node.attributes["perm"].as_ints())


def _join_with_earlier(graph: ir.Graph, node: ir.Node) -> None:
    """Let a transpose read what an earlier one reads, or nothing be left of both."""
    source, permutation = _turned(node) or (None, ())
    assert source is not None
    before = _turned(source.producer())
    if before is not None:
        source, first = before
        permutation = tuple(first[axis] for axis in permutation)
    if permutation == tuple(range(len(permutation))):
        if node.outputs[0].is_graph_output():
            op = Builder()
            same = op.Identity(source)
            ir.convenience.replace_nodes_and_values(graph, node, [node], op.nodes, node.outputs, [same])
        else:
            node.outputs[0].replace_all_uses_with(source)
    elif before is not None:
        node.replace_input_with(0, source)
        node.attributes["perm"] = ir.AttrInt64s("perm", permutation)


def _move_behind(graph: ir.Graph, node: ir.Node) -> None:
    """Let an elementwise operation whose inputs are turned alike work on what they were turned from."""
    turned = {value: _turned(value.producer()) for value in node.inputs if value is not None}
    permutations = {found[1] for found in turned.values() if found is not None}
    if len(permutations) != 1 or any(found is None and not _is_number(value) for value, found in turned.items()):
        return
    op = Builder()
    inputs = [value if value is None or (found := turned[value]) is None else found[0] for value in node.inputs]
    back = op.Transpose(op.alike(node, inputs), perm=permutations.pop())
    ir.convenience.replace_nodes_and_values(graph, node, [node], op.nodes, node.outputs, [back])


def _is_number(value: ir.Value) -> bool:
    """Return whether a value is a constant of one element that has no axis to turn."""
    return constant_sizes(value) in ([], [1])
