"""Loops of a graph of known length, step by step: many runtimes have no `Scan`, or none whose body reads outer values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

LONGEST = 64
"""Steps up to which a loop is written out."""


def write_out_loops(model: onnx.ModelProto) -> None:
    """Write out the steps of every `Scan` of known length; the bodies of longer ones get copies of the constants that they read.

    Parameters
    ----------
    model
        With the shapes of its values; changed in place.
    """
    graph = model.graph
    constants = {value.name: value for value in graph.initializer}
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.value_info)
    }
    shapes |= {value.name: list(value.dims) for value in graph.initializer}
    turned = {node.output[0]: node.input[0] for node in graph.node if _swaps(node)}
    nodes = []
    for node in graph.node:
        steps = _steps(node, shapes)
        if steps is None:
            nodes.append(node)
        elif steps > LONGEST:
            _own(_body(node), constants)
            nodes.append(node)
        else:
            nodes.extend(_written_out(node, steps, graph, turned))
    # The transposes around a loop are made anew, or not needed.
    first = {name: place for place, node in reversed(list(enumerate(nodes))) for name in node.output}
    nodes = [node for place, node in enumerate(nodes) if not node.output or first[node.output[0]] == place]
    del graph.node[:]
    graph.node.extend(_used(nodes, {value.name for value in graph.output}))


def _used(nodes: Sequence[onnx.NodeProto], needed: set[str]) -> list[onnx.NodeProto]:
    """Return the nodes that an output needs."""
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input) | {
                name for entry in node.attribute if entry.name == "body" for inner in entry.g.node for name in inner.input
            }
    return kept[::-1]


def _body(node: onnx.NodeProto) -> onnx.GraphProto:
    body: onnx.GraphProto = next(entry.g for entry in node.attribute if entry.name == "body")
    return body


def _steps(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """Return the steps of a loop over the first axis; None if it is another node, or its length is not known."""
    if node.op_type != "Scan" or any(entry.name not in ("body", "num_scan_inputs") for entry in node.attribute):
        return None
    shape = shapes.get(node.input[-1])
    return shape[0] if shape and shape[0] > 0 else None


def _own(body: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]) -> None:
    own = {value.name for value in body.initializer}
    for name in dict.fromkeys(name for node in body.node for name in node.input):
        if name in constants and name not in own:
            body.initializer.append(constants[name])


def _swaps(node: onnx.NodeProto) -> bool:
    """Return whether a node exchanges the first two axes."""
    if node.op_type != "Transpose":
        return False
    order = list(next((entry.ints for entry in node.attribute if entry.name == "perm"), ()))
    return order == [1, 0, *range(2, len(order))]


def _written_out(node: onnx.NodeProto, steps: int, graph: onnx.GraphProto, turned: Mapping[str, str]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all steps: what is scanned in parts, the bodies, and what they give put together.

    Time is cut and put together where the batch comes first, for to some runtimes (ncnn) the first axis is nothing else.
    """
    body, name = _body(node), node.output[0] or node.output[-1]
    scanned = next(int(entry.i) for entry in node.attribute if entry.name == "num_scan_inputs")
    states = len(node.input) - scanned
    axes = [f"{name}.axis{axis}" for axis in range(2)]
    graph.initializer.extend(numpy_helper.from_array(np.array([axis], np.int64), key) for axis, key in enumerate(axes))
    outer = {value.name: f"{name}.{value.name}" for value in body.initializer}
    for value in body.initializer:
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = outer[value.name]
    parts = []
    for place, value in enumerate(node.input[states:]):
        pieces = [f"{name}.in{place}.{step}" for step in range(steps)]
        axis = int(value in turned)
        yield helper.make_node("Split", [turned.get(value, value)], pieces, axis=axis, num_outputs=steps)
        parts.append((axes[axis], pieces))
    carried, stacked = list(node.input[:states]), [list[str]() for _ in node.output[states:]]
    for step in range(steps):
        known = dict(outer)
        for place, (axis_of, pieces) in enumerate(parts):
            known[body.input[states + place].name] = f"{pieces[step]}.one"
            yield helper.make_node("Squeeze", [pieces[step], axis_of], [f"{pieces[step]}.one"])
        known |= {value.name: carried[place] for place, value in enumerate(body.input[:states])}
        for inner in body.node:
            made = onnx.NodeProto()
            made.CopyFrom(inner)
            known |= {output: f"{name}.{step}.{output}" for output in inner.output if output}
            made.input[:] = [known.get(value, value) for value in inner.input]
            made.output[:] = [known.get(value, value) for value in inner.output]
            made.name = ""
            yield made
        given = [known[value.name] for value in body.output]
        carried = given[:states]
        for rows, value in zip(stacked, given[states:], strict=True):
            yield helper.make_node("Unsqueeze", [value, axes[1]], [f"{value}.row{len(rows)}"])
            rows.append(f"{value}.row{len(rows)}")
    for output, value in zip(node.output[:states], carried, strict=True):
        if output:
            yield helper.make_node("Identity", [value], [output])
    ranks = [1 + len(value.type.tensor_type.shape.dim) for value in body.output[states:]]
    for output, rows, rank in zip(node.output[states:], stacked, ranks, strict=True):
        batch_first = f"{output}.batch_first"
        yield helper.make_node("Concat", rows, [batch_first], axis=1)
        for user in (user for user in graph.node if output in user.input and _swaps(user)):
            yield helper.make_node("Identity", [batch_first], user.output)
        yield helper.make_node("Transpose", [batch_first], [output], perm=[1, 0, *range(2, rank)])
