"""A graph as other runtimes read it: one stream or sequence, sizes known, constants computed, plain names, no gathers, no loops.

Runtimes drop or rename ports whose names have dots, take one row of a `Gather` that exchanges the states of pairs, or cannot read
sizes that depend on the batch.  onnxruntime needs none of this, and runs the graph it is given faster than this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ssm2edge.firmware.constant_nodes import compute_constants
from ssm2edge.firmware.folding import folded
from ssm2edge.firmware.gelu_order import half_first
from ssm2edge.firmware.padding import as_joined
from ssm2edge.firmware.squares import without_squares
from ssm2edge.firmware.sums import as_product
from ssm2edge.firmware.unrolling import write_out_loops

NAMED = ("ssm2edge.inputs", "ssm2edge.outputs", "ssm2edge.states")
"""Metadata that name ports."""


def device_graph(path: Path, more: Mapping[str, Any], length: int | None = None) -> onnx.ModelProto:
    """Return the graph of one stream, or of one whole sequence, for other runtimes.

    Parameters
    ----------
    path
        A stream.onnx, or an offline.onnx.
    more
        Further metadata: names of classes, and the front end.
    length
        Samples of a whole sequence; None for a stream.
    """
    model = folded(path, length)
    write_out_loops(model)
    compute_constants(model)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    half_first(graph, constants)
    known = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info)}
    shapes = {name: [size.dim_value for size in kind.shape.dim] for name, kind in known.items()}
    # Pads and sums of symbols stay as they are: zeros and weights are float32.
    floats = {name: shapes[name] for name, kind in known.items() if kind.elem_type == onnx.TensorProto.FLOAT}
    shapes |= {name: list(value.shape) for name, value in constants.items()}
    without_squares(graph, constants, shapes)
    nodes = [
        part
        for node in graph.node
        for joined in as_joined(node, constants, floats, graph)
        for added in _added(joined, constants)
        for made in as_product(added, constants, floats, graph)
        for part in _exchanged(made, constants, shapes, graph)
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    inner = [part for node in nodes for entry in node.attribute if entry.name == "body" for part in entry.g.node]
    used = {name for node in (*nodes, *inner) for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    renamed = {value.name: plain_name(value.name) for value in (*graph.input, *graph.output)}
    _rename(model, renamed)
    for key, value in more.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"ssm2edge.{key}", json.dumps(value)
    # onnxruntime writes all domains that it knows, among them later ones than older versions read.
    kept_domains = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept_domains)
    model.producer_name, model.producer_version = "ssm2edge", ""
    del graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def ports(model: onnx.ModelProto) -> dict[str, Any]:
    """Return names, shapes, types, axes of time and states of a device graph, in the order of its ports."""
    metadata = {entry.key.removeprefix("ssm2edge."): entry.value for entry in model.metadata_props}
    states = json.loads(metadata.get("states", "[]"))
    axes = {entry["name"]: entry["time_axis"] for key in ("inputs", "outputs") for entry in json.loads(metadata[key])}
    carried = {state[key] for state in states for key in ("input", "output")}
    kinds = {value.name: _dtype(value) for value in model.graph.input}

    def listed(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
        return [
            {
                "name": value.name,
                "shape": [size.dim_value for size in value.type.tensor_type.shape.dim],
                "dtype": _dtype(value),
                "time_axis": axes.get(value.name),
            }
            for value in values
            if value.name not in carried
        ]

    return {
        "schema": 1,
        **({"block": int(metadata["block"])} if "block" in metadata else {}),
        "inputs": listed(model.graph.input),
        "outputs": listed(model.graph.output),
        "states": [{**state, "shape": [1, *state["shape"]], "dtype": kinds[state["input"]]} for state in states],
        **{key: json.loads(metadata[key]) for key in ("classes", "front_end") if key in metadata},
    }


def _dtype(value: onnx.ValueInfoProto) -> str:
    return str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name)


def plain_name(name: str) -> str:
    """Return a name that every runtime keeps."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


def _added(node: onnx.NodeProto, constants: Mapping[str, np.ndarray[Any, Any]]) -> list[onnx.NodeProto]:
    """Return a product and a sum for a `Gemm` that adds what is no constant; other nodes as they are."""
    if node.op_type != "Gemm" or len(node.input) < 3 or node.input[2] in constants:
        return [node]
    if any(entry.i if entry.name.startswith("trans") else entry.f != 1 for entry in node.attribute):
        return [node]
    product = f"{node.output[0]}.product"
    return [
        helper.make_node("MatMul", node.input[:2], [product]),
        helper.make_node("Add", [product, node.input[2]], node.output),
    ]


def _exchanged(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray[Any, Any]],
    shapes: Mapping[str, Sequence[int]],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """Return nodes that exchange neighbours without their places as numbers; other nodes as they are."""
    places = constants.get(node.input[1]) if node.op_type == "Gather" else None
    shape = shapes.get(node.input[0])
    if places is None or shape is None or places.ndim != 1 or len(places) % 2 or len(places) < 2:
        return [node]
    axis = next((int(entry.i) for entry in node.attribute if entry.name == "axis"), 0) % len(shape)
    if shape[axis] != len(places) or places.tolist() != [place ^ 1 for place in range(len(places))]:
        return [node]
    outer, pairs = int(np.prod(shape[:axis])), len(places) // 2
    inner = int(np.prod(shape[axis + 1 :]))
    name = node.output[0]
    # Three axes at most: runtimes for small devices know no more beside the batch.
    sizes = {f"{name}.pairs": [outer * pairs, 2, inner], f"{name}.shape": list(shape)}
    for key, value in sizes.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), key))
    return [
        helper.make_node("Reshape", [node.input[0], f"{name}.pairs"], [f"{name}.all"]),
        helper.make_node("Split", [f"{name}.all"], [f"{name}.first", f"{name}.second"], axis=1, num_outputs=2),
        helper.make_node("Concat", [f"{name}.second", f"{name}.first"], [f"{name}.turned"], axis=1),
        helper.make_node("Reshape", [f"{name}.turned", f"{name}.shape"], [name]),
    ]


def _rename(model: onnx.ModelProto, renamed: Mapping[str, str]) -> None:
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.name = renamed[value.name]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for entry in model.metadata_props:
        if entry.key in NAMED:
            texts = ("name", "input", "output")
            described = [
                {key: renamed.get(value, value) if key in texts else value for key, value in one.items()}
                for one in json.loads(entry.value)
            ]
            entry.value = json.dumps(described)
