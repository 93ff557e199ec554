"""The inner values of a whole-sequence graph that go into each reduced layer and come out of it.

They show errors layer by layer, and let each layer run by itself.
"""

from __future__ import annotations

import onnx_ir as ir

from ssm2edge.export.ownership import layer_of
from ssm2edge.lowering.building import DOMAIN


def layer_values(graph: ir.Graph) -> list[dict[str, str]]:
    """Return name, output and input of every layer, in the graph's order, read before its operator becomes plain nodes.

    A layer that is called several times is named with a number from its second call on.
    """
    found: list[dict[str, str]] = []
    calls: dict[str, int] = {}
    for node in graph:
        layer, source = layer_of(node), node.inputs[0] if node.inputs else None
        if node.domain == DOMAIN and "Sequence" in node.op_type and layer is not None and source is not None:
            value = {"value": str(node.outputs[0].name), "input": str(source.name)}
            found.append({"name": numbered(layer, calls), **value})
    return found


def numbered(name: str, calls: dict[str, int]) -> str:
    """Return the name of this call of a layer, and count it in ``calls``."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}@{calls[name]}"
