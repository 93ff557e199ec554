"""Nodes that no input changes, computed beforehand: the first steps of loops that were written out have some."""

from __future__ import annotations

import onnx
import onnxruntime
from onnx import numpy_helper


def compute_constants(model: onnx.ModelProto) -> None:
    """Put the values of nodes that no input changes in their place; onnx2tf stops at such nodes.

    Parameters
    ----------
    model
        With initializers for all constants; changed in place.
    """
    graph = model.graph
    known, results = {value.name for value in graph.initializer}, {value.name for value in graph.output}
    fixed, others = list[onnx.NodeProto](), list[onnx.NodeProto]()
    for node in graph.node:
        constant = bool(node.input) and all(not name or name in known for name in node.input)
        if constant and not results & set(node.output) and not any(entry.name == "body" for entry in node.attribute):
            fixed.append(node)
            known |= set(node.output)
        else:
            others.append(node)
    inner = [part for node in others for entry in node.attribute if entry.name == "body" for part in entry.g.node]
    used = {name for node in (*others, *inner) for name in node.input}
    wanted = [name for node in fixed for name in node.output if name in used]
    if wanted:
        alone = onnx.ModelProto()
        alone.CopyFrom(model)
        read = {name for node in fixed for name in node.input}
        stored = [value for value in model.graph.initializer if value.name in read]
        for part in (alone.graph.node, alone.graph.input, alone.graph.output, alone.graph.value_info, alone.graph.initializer):
            del part[:]
        alone.graph.node.extend(fixed)
        alone.graph.initializer.extend(stored)
        alone.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        options = onnxruntime.SessionOptions()
        # It writes to stderr what it cannot simplify in so small a graph, which changes no value.
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(wanted, {})
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in zip(wanted, values, strict=True))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in others]
    del graph.node[:]
    graph.node.extend(kept)
