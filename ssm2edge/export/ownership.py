"""The layer that a node computes for: its operator says it, and every node that is built in the operator's place.

Constants cannot say it: equal ones are merged, so that layers with equal poles read the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import onnx_ir as ir
import torch
from torch import Tensor
from torch.export import ExportedProgram

from ssm2edge.export.choices import COEFFICIENTS, layer_name
from ssm2edge.lowering.building import DOMAIN

LAYER = "ssm2edge.layer"
"""Key in the metadata of a node."""

TOGETHER = "*"
"""In place of a layer's name: nodes that compute for several layers at once."""

AGAIN = "@"
"""Between a layer's name and the number of its call."""

SEPARATOR = "/"
"""Between a layer's name and a number, in the names of values."""


def name_layers(program: ExportedProgram) -> None:
    """Let each of our operators say which call of which layer it is, in place."""
    calls: dict[str, int] = {}
    for node in program.graph.nodes:
        if node.target in COEFFICIENTS:
            constants, form = node.args[: 1 + COEFFICIENTS[node.target]], node.args[1 + COEFFICIENTS[node.target] :][:1]
            node.args = (*constants, *(form or ("",)), numbered(layer_name(node), calls))


def numbered(name: str, calls: dict[str, int]) -> str:
    """Return the name of this call of a layer, with a number from its second call on, and count it in ``calls``."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}{AGAIN}{calls[name]}"


def as_node(operator: str, layer: str, inputs: Sequence[Tensor], *like: Tensor) -> tuple[Tensor, ...]:
    """Stand for one node of our domain that computes for a layer; its outputs have the shapes and types of other values."""
    outputs = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{operator}",
        inputs,
        dtypes=[x.dtype for x in like],
        shapes=[x.shape for x in like],
        version=1,
        metadata_props={LAYER: layer},
    )
    return tuple(outputs)


def layer_of(node: ir.Node) -> str | None:
    """Return the call of a layer that a node computes for, `TOGETHER`, or None."""
    return node.metadata_props.get(LAYER)


def note_layer(nodes: Iterable[ir.Node], layer: str | None) -> None:
    """Let nodes compute for a layer, if there is one."""
    if layer is not None:
        for node in nodes:
            node.metadata_props[LAYER] = layer


def layer_values(graph: ir.Graph) -> list[dict[str, str]]:
    """Return name, output and input of every call of a layer, in the graph's order, before its operator becomes plain nodes.

    They show errors layer by layer, and let each layer run by itself.
    """
    return [
        {"name": layer, "value": str(node.outputs[0].name), "input": str(node.inputs[0].name)}
        for node in graph
        if node.domain == DOMAIN and "Sequence" in node.op_type and (layer := layer_of(node)) is not None and node.inputs[0]
    ]


def name_values(graph: ir.Graph) -> dict[str, str]:
    """Name what a layer's nodes compute from samples ``<layer>/<number>``, so that files and profiles show whose it is.

    What they compute from constants alone is folded when the graph is loaded, and gets a number only.

    Returns
    -------
    dict
        New names by old ones, of values of the graph itself.
    """
    moving, counts, renamed = set(graph.inputs), Counter[str](), dict[str, str]()
    for node in graph:
        moves = not moving.isdisjoint(node.inputs)
        if moves:
            moving.update(node.outputs)
        layer = layer_of(node)
        if layer is None:
            continue
        bodies = [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]
        inner = [value for body in bodies for value in (*body.inputs, *(x for one in body for x in one.outputs))]
        prefix = layer if moves else ""
        for value in (*(x for x in node.outputs if x.name and not x.is_graph_output()), *inner):
            counts[prefix] += 1
            old, value.name = str(value.name), f"{prefix}{SEPARATOR}{counts[prefix]}"
            if value not in inner:
                renamed[old] = str(value.name)
    return renamed
