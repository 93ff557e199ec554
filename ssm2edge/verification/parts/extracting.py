"""The part of a graph between two inner values as a graph of its own, without the onnx package.

A walk back from the output to the input finds the nodes; they and the constants that they read are copied byte by byte, so that
the part runs the content of the file.  Only queries of lengths change: graphs take the batch and the length of all layers from
their own input, and the part has another input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ssm2edge.runtime.exposing import GRAPH, NAME, OUTPUT
from ssm2edge.runtime.protobuf import Field, fields, written, written_number

METADATA = 14
"""Field of ModelProto."""
NODE, GRAPH_NAME, INITIALIZER, INPUT = 1, 2, 5, 11
"""Fields of GraphProto."""
NODE_INPUT, NODE_OUTPUT, OPERATOR, ATTRIBUTE = 1, 2, 4, 5
"""Fields of NodeProto."""
ATTRIBUTE_NAME, INTEGER, BODIES, ATTRIBUTE_TYPE, IS_INTEGER = 1, 3, (6, 11), 20, 2
"""Fields of AttributeProto, those that hold graphs among them, and the type of whole numbers."""
TENSOR_NAME = 8
"""Field of TensorProto."""
TYPE, TENSOR_TYPE, ELEMENT_TYPE, SHAPE, DIMENSION, FLOAT = 2, 1, 1, 2, 1, 1
"""From ValueInfoProto down to the sizes of a tensor; float32 is element type 1."""


@dataclass(frozen=True)
class _Node:
    raw: bytes | memoryview
    reads: set[str]
    gives: set[str]


def extract(content: bytes, source: str, target: str) -> bytes:
    """Return the bytes of a model that computes one inner value from another.

    Parameters
    ----------
    content
        A serialised ModelProto.
    source
        Inner value that becomes the only input: float32 with three axes of any size.
    target
        Inner value that becomes the only output.

    Raises
    ------
    ValueError
        If the bytes are no model, or the output cannot be computed from the input alone.
    """
    model = list(fields(memoryview(content)))
    graph = [part for field in model if field.number == GRAPH for part in fields(field.content)]
    inputs = {_name(part.content, NAME) for part in graph if part.number == INPUT}
    nodes = [_node(part, inputs, source) for part in graph if part.number == NODE]
    constants = {_name(part.content, TENSOR_NAME): part.raw for part in graph if part.number == INITIALIZER}
    chosen, needed = _walk_back(nodes, set(constants), source, target)
    parts: list[bytes | memoryview] = [
        *(node.raw for node in chosen),
        written(GRAPH_NAME, b"part"),
        *(raw for name, raw in constants.items() if name in needed),
        written(INPUT, written(NAME, source.encode()) + written(TYPE, _sequences())),
        written(OUTPUT, written(NAME, target.encode())),
    ]
    kept: list[bytes | memoryview] = [field.raw for field in model if field.number not in (GRAPH, METADATA)]
    return b"".join([*kept, written(GRAPH, b"".join(parts))])


def _walk_back(nodes: list[_Node], constants: set[str], source: str, target: str) -> tuple[list[_Node], set[str]]:
    """Return the needed nodes, in the graph's order, and all values that they read."""
    giving = {name: index for index, node in enumerate(nodes) for name in node.gives}
    needed, waiting, chosen = {target}, [target], set()
    while waiting:
        name = waiting.pop()
        if name == source or name in constants:
            continue
        if name not in giving:
            raise ValueError(f"{target} does not follow from {source} alone, but from {name}, too")
        chosen.add(giving[name])
        new = nodes[giving[name]].reads - needed
        needed |= new
        waiting += new
    if source not in needed:
        raise ValueError(f"{target} does not follow from {source}")
    return [nodes[index] for index in sorted(chosen)], needed


def _node(field: Field, inputs: set[str], source: str) -> _Node:
    gives = {part.text for part in fields(field.content) if part.number == NODE_OUTPUT} - {""}
    reads = set(_read(field.content)) - {""}
    axis = _asked_axis(field.content) if reads <= inputs else None
    if axis is None:
        return _Node(field.raw, reads, gives)
    # The batch comes first everywhere; the other size that graphs leave open is the length, which a layer has second.
    asked = _question(source, min(axis, 1), *gives)
    return _Node(written(NODE, asked), {source}, gives)


def _asked_axis(node: memoryview) -> int | None:
    """Return the axis whose size a node queries, if it queries nothing else."""
    if _name(node, OPERATOR) != "Shape":
        return None
    asked = {}
    for part in fields(node):
        if part.number == ATTRIBUTE:
            values = [entry.value for entry in fields(part.content) if entry.number == INTEGER]
            asked[_name(part.content, ATTRIBUTE_NAME)] = values[0] if values else 0
    start = asked.get("start", 0)
    return start if asked.get("end") == start + 1 else None


def _question(source: str, axis: int, target: str) -> bytes:
    """Return a node that computes the size of one axis."""
    attributes = [
        written(ATTRIBUTE_NAME, name.encode()) + written_number(INTEGER, value) + written_number(ATTRIBUTE_TYPE, IS_INTEGER)
        for name, value in (("start", axis), ("end", axis + 1))
    ]
    names = written(NODE_INPUT, source.encode()) + written(NODE_OUTPUT, target.encode()) + written(OPERATOR, b"Shape")
    return names + b"".join(written(ATTRIBUTE, attribute) for attribute in attributes)


def _read(node: memoryview) -> Iterator[str]:
    """Return every outer value that a node reads, also in the bodies of its loops."""
    for part in fields(node):
        if part.number == NODE_INPUT:
            yield part.text
        elif part.number == ATTRIBUTE:
            for body in (entry.content for entry in fields(part.content) if entry.number in BODIES):
                yield from _captured(body)


def _captured(body: memoryview) -> Iterator[str]:
    read: set[str] = set()
    own: set[str] = set()
    for part in fields(body):
        if part.number == NODE:
            read |= set(_read(part.content))
            own |= {entry.text for entry in fields(part.content) if entry.number == NODE_OUTPUT}
        elif part.number in (INPUT, INITIALIZER):
            own.add(_name(part.content, NAME if part.number == INPUT else TENSOR_NAME))
    # A loop may return an outer value unchanged.
    read |= {_name(part.content, NAME) for part in fields(body) if part.number == OUTPUT}
    yield from read - own


def _name(content: memoryview, number: int) -> str:
    return next((field.text for field in fields(content) if field.number == number), "")


def _sequences() -> bytes:
    """Return the type of float32 tensors with three axes."""
    shape = written(SHAPE, 3 * written(DIMENSION, b""))
    return written(TENSOR_TYPE, written_number(ELEMENT_TYPE, FLOAT) + shape)
