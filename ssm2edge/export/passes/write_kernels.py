"""Replace the nodes of our domain by the nodes of their kernels.

Requires
    every operator of our domain has a kernel.
Ensures
    the same values in the standard operators; what is built for a node computes for the node's layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ssm2edge.export.ownership import layer_of, note_layer
from ssm2edge.lowering.building import DOMAIN, Builder, Kernel


def write_kernels(graph: ir.Graph, kernels: Mapping[str, Kernel]) -> None:
    """Rewrite a graph in place."""
    for node in list(graph):
        if node.domain == DOMAIN:
            op = Builder()
            outputs = kernels[node.op_type](op, *node.inputs)
            note_layer(op.nodes, layer_of(node))
            ir.convenience.replace_nodes_and_values(graph, node, [node], op.nodes, node.outputs, outputs)
