"""Nodes and constants that nothing uses, such as constants that only some forms of a function need.

onnxruntime would drop them when it loads the graph, with a warning for each.
"""

from __future__ import annotations

import onnx
from onnx import GraphProto, NodeProto


def drop_unused(graph: GraphProto) -> None:
    """Remove nodes and initializers of the main graph whose values neither a node nor an output uses."""
    wanted = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        kept.append(node)
        wanted |= set(node.input) | _captured(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    constants = [onnx.TensorProto.FromString(x.SerializeToString()) for x in graph.initializer if x.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def _captured(node: NodeProto) -> set[str]:
    """Names that the bodies of a node may take from outside."""
    bodies = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    names: set[str] = set()
    for body in bodies:
        names |= {value.name for value in body.output}
        for inner in body.node:
            names |= set(inner.input) | _captured(inner)
    return names
