"""The states of all layers, moved on together.

At the start of a block every layer's states are known, and what they contribute to its outputs and next states does not wait for
the layers below; what arrives in them no layer above waits for.  Layers of the same size are then one bank of all their channels:
a few nodes for the model in place of a few nodes a layer, which is what counts where a node costs more than its arithmetic.

Requires
    nodes of the three functions of a block (:mod:`ssm2edge.lowering.siso_block`), not inlined yet.
Ensures
    the same values; only nodes of one size are joined, and only those whose states are inputs and outputs of the graph, and whose
    coefficients are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import NodeProto, helper

from ssm2edge.lowering.plan import Plan

LARGEST_STATES = 4096
"""Numbers in the states of a layer up to which saved nodes outweigh putting states together and taking them apart."""


@dataclass(frozen=True)
class JointOperators:
    """Operators of a bank that joins several: ``states_function`` and ``arrivals_function``."""

    states: str
    arrivals: str


@dataclass(frozen=True, eq=False)
class _Layer:
    """The two nodes of a layer that can be joined with others."""

    states: NodeProto
    arrivals: NodeProto


def join_states(model: onnx.ModelProto, plans: Mapping[str, Plan], operators_of: Callable[[Plan], JointOperators]) -> None:
    """Rewrite a graph in place.

    Parameters
    ----------
    model
        The graph.
    plans
        The plan that each operator of states follows, by operator.
    operators_of
        Gives the operators of a plan, and sees to their functions.
    """
    graph = model.graph
    first: list[NodeProto] = []
    last: list[NodeProto] = []
    replaced: set[str] = set()
    for operator, layers in _groups(graph, plans).items():
        if len(layers) > 1:
            plan = plans[operator]
            before, after = _joined(layers, plan, operators_of(replace(plan, channels=len(layers) * plan.channels)))
            first += before
            last += after
            replaced |= {node.output[0] for layer in layers for node in (layer.states, layer.arrivals)}
    kept = [NodeProto.FromString(node.SerializeToString()) for node in graph.node if node.output[0] not in replaced]
    del graph.node[:]
    graph.node.extend([*first, *kept, *last])


def _groups(graph: onnx.GraphProto, plans: Mapping[str, Plan]) -> dict[str, list[_Layer]]:
    """Layers that can be joined, by their operator of states."""
    inputs, outputs = {port.name for port in graph.input}, {port.name for port in graph.output}
    constants = {tensor.name for tensor in graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    groups: dict[str, list[_Layer]] = {}
    for node in graph.node:
        plan = plans.get(node.op_type)
        if plan is None or plan.order * plan.channels > LARGEST_STATES:
            continue
        moved = readers.get(node.output[0], [])
        known = node.input[0] in inputs and constants.issuperset(node.input[1:])
        if known and len(moved) == 1 and moved[0].output[0] in outputs - set(readers):
            groups.setdefault(node.op_type, []).append(_Layer(node, moved[0]))
    return groups


def _joined(layers: Sequence[_Layer], plan: Plan, operators: JointOperators) -> tuple[list[NodeProto], list[NodeProto]]:
    """The nodes before everything else, and those behind it."""
    states, arrivals = [layer.states for layer in layers], [layer.arrivals for layer in layers]
    domain, prefix = states[0].domain, f"{states[0].output[0]}.joint"
    coefficients = [f"{prefix}.{name}" for name in "abcd"]
    moved, seen, samples, following = (f"{prefix}.{name}" for name in ("moved", "seen", "samples", "following"))
    widths = f"{prefix}.widths"

    def together(nodes: Sequence[NodeProto], position: int, target: str, axis: int) -> NodeProto:
        return helper.make_node("Concat", [node.input[position] for node in nodes], [target], axis=axis)

    def apart(source: str, nodes: Sequence[NodeProto], position: int) -> NodeProto:
        return helper.make_node("Split", [source, widths], [node.output[position] for node in nodes], axis=-1)

    before = [
        helper.make_node("Constant", [], [widths], value_ints=[plan.channels] * len(layers)),
        *(together(states, 1 + index, name, 0) for index, name in enumerate(coefficients)),
        together(states, 0, f"{prefix}.states", -1),
        helper.make_node(operators.states, [f"{prefix}.states", *coefficients], [moved, seen], domain=domain),
        apart(seen, states, 1),
    ]
    after = [
        together(arrivals, 0, samples, -1),
        helper.make_node(operators.arrivals, [samples, moved, *coefficients], [following], domain=domain),
        apart(following, arrivals, 0),
    ]
    return before, after
