"""Move the states of all layers on together.

At the start of a block every layer's states are known, and what they contribute to its outputs and next states does not wait for
the layers below; what arrives in them no layer above waits for.  Layers of the same size are then one bank of all their channels:
a few nodes for the model in place of a few nodes a layer, which is what counts where a node costs more than its arithmetic.

Requires
    nodes of the three operators of a block (:mod:`ssm2edge.lowering.siso_block`), no kernels yet.
Ensures
    the same values; only nodes of one size are joined, and only those whose states are inputs and outputs of the graph, and whose
    coefficients are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from ssm2edge.export.ownership import TOGETHER, note_layer
from ssm2edge.lowering.building import DOMAIN, Builder
from ssm2edge.lowering.plan import Plan

LARGEST_STATES = 4096
"""Numbers in the states of a layer up to which saved nodes outweigh putting states together and taking them apart."""


@dataclass(frozen=True)
class JointOperators:
    """Operators of a bank that joins several: of what states decide by themselves, and of the states after a block."""

    states: str
    arrivals: str


@dataclass(frozen=True, eq=False)
class _Layer:
    """The two nodes of a layer that can be joined with others."""

    states: ir.Node
    arrivals: ir.Node


def join_states(graph: ir.Graph, plans: Mapping[str, Plan], operators_of: Callable[[Plan], JointOperators]) -> None:
    """Rewrite a graph in place.

    Parameters
    ----------
    graph
        The graph.
    plans
        The plan that each operator of states follows, by operator.
    operators_of
        Gives the operators of a plan, and sees to their kernels.
    """
    begin, joined = graph[0], list[_Layer]()
    for operator, layers in _groups(graph, plans).items():
        if len(layers) > 1:
            plan = plans[operator]
            _join(graph, begin, layers, plan, operators_of(replace(plan, channels=len(layers) * plan.channels)))
            joined += layers
    graph.remove([node for layer in joined for node in (layer.states, layer.arrivals)], safe=True)


def _groups(graph: ir.Graph, plans: Mapping[str, Plan]) -> dict[str, list[_Layer]]:
    """Return the layers that can be joined, by their operator of states."""
    groups: dict[str, list[_Layer]] = {}
    for node in graph:
        plan = plans.get(node.op_type)
        if plan is None or plan.order * plan.channels > LARGEST_STATES:
            continue
        state, *constants = node.inputs
        moved = node.outputs[0].consumers()
        known = state is not None and state.is_graph_input() and all(x is not None and x.is_initializer() for x in constants)
        if known and len(moved) == 1 and moved[0].outputs[0].is_graph_output() and not moved[0].outputs[0].uses():
            groups.setdefault(node.op_type, []).append(_Layer(node, moved[0]))
    return groups


def _join(graph: ir.Graph, begin: ir.Node, layers: Sequence[_Layer], plan: Plan, operators: JointOperators) -> None:
    """Put the joint nodes of states before everything else, and those of arrivals behind it."""
    before, after = Builder(), Builder()
    states, arrivals = [layer.states for layer in layers], [layer.arrivals for layer in layers]

    def together(op: Builder, nodes: Sequence[ir.Node], position: int, axis: int) -> ir.Value:
        return op.Concat(*(node.inputs[position] for node in nodes), axis=axis)

    def apart(op: Builder, joint: ir.Value, nodes: Sequence[ir.Node], position: int) -> None:
        parts = op.several("Split", len(nodes), joint, widths, axis=-1)
        ir.convenience.replace_nodes_and_values(graph, begin, [], [], [node.outputs[position] for node in nodes], parts)

    coefficients = [together(before, states, 1 + index, 0) for index in range(4)]
    x = together(before, states, 0, -1)
    moved, seen = before.several(operators.states, 2, x, *coefficients, domain=DOMAIN)
    widths = before.integers(*(plan.channels for _ in layers))
    samples = together(after, arrivals, 0, -1)
    (following,) = after.several(operators.arrivals, 1, samples, moved, *coefficients, domain=DOMAIN)
    apart(before, seen, states, 1)
    apart(after, following, arrivals, 0)
    note_layer((*before.nodes, *after.nodes), TOGETHER)
    graph.insert_before(begin, before.nodes)
    graph.extend(after.nodes)
