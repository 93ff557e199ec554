"""Ask for lengths at the inputs, so that what follows from them is one computation for all layers.

Every layer's kernel asks for the length of its own input and derives how many chunks that makes, where to cut and what to fill.
Where layers see sequences of one length, that is the same arithmetic again and again on single numbers, each a node that costs
as much as a node on samples.  Asked at one place, they are common subexpressions.

Requires
    the sizes that the exporter noted.
Ensures
    the same values, each computed once; lengths that several layers use are computed for these together.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from ssm2edge.export.ownership import TOGETHER, layer_of, note_layer
from ssm2edge.export.passes.sizes import sizes_of


def compute_lengths_once(model: ir.Model) -> None:
    """Rewrite a model in place."""
    sources: dict[int | str, tuple[ir.Value, int]] = {}
    for value in model.graph.inputs:
        for place, size in enumerate(sizes_of(value) or ()):
            if isinstance(size, str) and size:
                sources.setdefault(size, (value, place))
    for node in model.graph:
        axis = _asked_axis(node)
        sizes = None if axis is None else sizes_of(node.inputs[0])
        if axis is not None and sizes is not None and axis < len(sizes) and sizes[axis] in sources:
            value, place = sources[sizes[axis]]
            node.replace_input_with(0, value)
            node.attributes.update({"start": ir.AttrInt64("start", place), "end": ir.AttrInt64("end", place + 1)})
    CommonSubexpressionEliminationPass()(model)
    _note_together(model.graph)


def _note_together(graph: ir.Graph) -> None:
    lengths: set[ir.Value | None] = set()
    for node in graph:
        if node.op_type == "Shape" or lengths.issuperset(node.inputs):
            lengths.update(node.outputs)
    for node in reversed(graph):
        if lengths.issuperset(node.outputs):
            served = {layer_of(reader) for value in node.outputs for reader in value.consumers()} | {layer_of(node)}
            if len(served - {None}) > 1:
                note_layer([node], TOGETHER)


def _asked_axis(node: ir.Node) -> int | None:
    """Return the axis whose size alone a node asks for."""
    if node.op_type != "Shape":
        return None
    start: int = node.attributes.get_int("start", 0)
    return start if start >= 0 and node.attributes.get_int("end", 0) == start + 1 else None
