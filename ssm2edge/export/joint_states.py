"""What the states of all layers decide by themselves, computed for all layers at once.

At the start of a block every layer's states are known, and what they contribute to its outputs and next states does not wait for
the layers below.  Layers of the same size are then one bank of all their channels: a few nodes for the model in place of a few
nodes a layer, which is what counts where a node costs more than its arithmetic.

Requires
    nodes of ``states_function`` (:mod:`ssm2edge.lowering.siso_block`), not inlined yet.
Ensures
    the same values; only nodes of one size are joined, and only those whose states are inputs of the graph, and whose
    coefficients are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx
from onnx import NodeProto, helper

from ssm2edge.lowering.plan import Plan

LARGEST_STATES = 4096
"""Numbers in the states of a layer up to which saved nodes outweigh putting states together and taking them apart."""


def join_states(model: onnx.ModelProto, plans: Mapping[str, Plan], function_of: Callable[[Plan], str]) -> None:
    """Rewrite a graph in place.

    Parameters
    ----------
    model
        The graph.
    plans
        The plan that each operator of states follows, by operator.
    function_of
        Gives the operator of a plan, and sees to its function.
    """
    graph = model.graph
    inputs, constants = {port.name for port in graph.input}, {tensor.name for tensor in graph.initializer}
    groups: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        plan = plans.get(node.op_type)
        if plan is not None and _is_small(plan) and node.input[0] in inputs and constants.issuperset(node.input[1:]):
            groups.setdefault(node.op_type, []).append(node)
    joined: list[NodeProto] = []
    replaced: set[str] = set()
    for operator, nodes in groups.items():
        if len(nodes) > 1:
            plan = plans[operator]
            joined += _joined(nodes, plan, function_of(replace(plan, channels=len(nodes) * plan.channels)))
            replaced |= {node.output[0] for node in nodes}
    kept = [NodeProto.FromString(node.SerializeToString()) for node in graph.node if node.output[0] not in replaced]
    del graph.node[:]
    graph.node.extend([*joined, *kept])


def _is_small(plan: Plan) -> bool:
    return plan.order * plan.channels <= LARGEST_STATES


def _joined(nodes: list[NodeProto], plan: Plan, operator: str) -> list[NodeProto]:
    """One node for all, between what puts states and constants together and what takes the results apart."""
    first = nodes[0]
    prefix = f"{first.output[0]}.joint"
    written = []
    for position, axis in enumerate((-1, 0, 0, 0, 0)):
        written.append(helper.make_node("Concat", [node.input[position] for node in nodes], [f"{prefix}.{position}"], axis=axis))
    results = [f"{prefix}.moved", f"{prefix}.seen"]
    arguments = [f"{prefix}.{position}" for position in range(5)]
    written.append(helper.make_node(operator, arguments, results, domain=first.domain))
    written.append(helper.make_node("Constant", [], [f"{prefix}.widths"], value_ints=[plan.channels] * len(nodes)))
    for index, result in enumerate(results):
        parts = [node.output[index] for node in nodes]
        written.append(helper.make_node("Split", [result, f"{prefix}.widths"], parts, axis=-1))
    return written
