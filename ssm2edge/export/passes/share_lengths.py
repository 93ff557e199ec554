"""Lengths, and what follows from them and from constants alone, computed once for all layers.

Every layer's kernel asks for the length of its own input and derives how many chunks that makes, where to cut and what to fill.
Where layers see sequences of one length, that is the same arithmetic again and again on single numbers, each a node that costs
as much as a node on samples.

Requires
    a graph whose functions are inlined, with the sizes that the exporter noted; no name of its nodes' bodies hides an outer one.
Ensures
    the same values and no more nodes than before; values that depend on samples or weights keep their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onnx import AttributeProto, GraphProto, NodeProto, helper

RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
"""Operators of which two are never the same."""


def compute_lengths_once(graph: GraphProto) -> None:
    """Rewrite a graph in place."""
    sizes = {value.name: list(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    sources = _sources(graph)
    known: dict[tuple[object, ...], NodeProto] = {}
    instead: dict[str, str] = {}
    derived: set[str] = set()
    outputs = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for original in graph.node:
        node = _renamed(original, instead)
        axis = _asked_axis(node)
        symbol = sizes[node.input[0]][axis].dim_param if axis is not None and len(sizes.get(node.input[0], ())) > axis else ""
        if symbol in sources:
            name, place = sources[symbol]
            node = helper.make_node("Shape", [name], list(node.output), name=node.name, start=place, end=place + 1)
        elif node.op_type in RANDOM or not derived.issuperset(node.input) or _bodies(node) or outputs.intersection(node.output):
            kept.append(node)
            continue
        derived.update(node.output)
        first = known.setdefault(_meaning(node), node)
        if first is node:
            kept.append(node)
        else:
            instead.update(zip(node.output, first.output, strict=True))
    copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)


def _sources(graph: GraphProto) -> Mapping[str, tuple[str, int]]:
    """Where to ask for each symbol: the first input that has it, and its axis."""
    found: dict[str, tuple[str, int]] = {}
    for value in graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param:
                found.setdefault(size.dim_param, (value.name, axis))
    return found


def _asked_axis(node: NodeProto) -> int | None:
    """The axis whose size alone a node asks for."""
    if node.op_type != "Shape":
        return None
    asked = {attribute.name: attribute.i for attribute in node.attribute}
    start = asked.get("start", 0)
    return start if start >= 0 and asked.get("end") == start + 1 else None


def _meaning(node: NodeProto) -> tuple[object, ...]:
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    return node.domain, node.op_type, tuple(node.input), len(node.output), tuple(attributes)


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]


def _renamed(node: NodeProto, instead: Mapping[str, str]) -> NodeProto:
    """A copy that reads other names, its bodies too."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _rename([copy], instead)
    return copy


def _rename(nodes: Iterable[NodeProto], instead: Mapping[str, str]) -> None:
    for node in nodes:
        node.input[:] = [instead.get(name, name) for name in node.input]
        for body in _bodies(node):
            _rename(body.node, instead)
            for value in body.output:
                value.name = instead.get(value.name, value.name)
