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
    nodes = []
    for node in graph.node:
        steps = _steps(node, shapes)
        if steps is None:
            nodes.append(node)
        elif steps > LONGEST:
            _own(_body(node), constants)
            nodes.append(node)
        else:
            nodes.extend(_written_out(node, steps, graph))
    del graph.node[:]
    graph.node.extend(nodes)


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


def _written_out(node: onnx.NodeProto, steps: int, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all steps: what is scanned in parts, the bodies, and what they give put together."""
    body, name = _body(node), node.output[0] or node.output[-1]
    scanned = next(int(entry.i) for entry in node.attribute if entry.name == "num_scan_inputs")
    states = len(node.input) - scanned
    first = f"{name}.first_axis"
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), first))
    outer = {value.name: f"{name}.{value.name}" for value in body.initializer}
    for value in body.initializer:
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = outer[value.name]
    parts = []
    for place, value in enumerate(node.input[states:]):
        pieces = [f"{name}.in{place}.{step}" for step in range(steps)]
        yield helper.make_node("Split", [value], pieces, axis=0, num_outputs=steps)
        parts.append(pieces)
    carried, stacked = list(node.input[:states]), [list[str]() for _ in node.output[states:]]
    for step in range(steps):
        known = dict(outer)
        for place, pieces in enumerate(parts):
            known[body.input[states + place].name] = f"{pieces[step]}.one"
            yield helper.make_node("Squeeze", [pieces[step], first], [f"{pieces[step]}.one"])
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
            yield helper.make_node("Unsqueeze", [value, first], [f"{value}.row{len(rows)}"])
            rows.append(f"{value}.row{len(rows)}")
    for output, value in zip(node.output[:states], carried, strict=True):
        if output:
            yield helper.make_node("Identity", [value], [output])
    for output, rows in zip(node.output[states:], stacked, strict=True):
        yield helper.make_node("Concat", rows, [output], axis=0)
