"""Nodes, multiply-adds and stored bytes of the graphs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from ssm2edge.artifact import GraphCost
from ssm2edge.export.cost import graph_cost
from ssm2edge.export.passes.store_integers import INTEGERS, LOWER, UPPER

PACKED = {INTEGERS: "int4", LOWER: "int3", UPPER: "int3"}
"""Kinds of integers that share bytes, by the ending of their name."""


def graph_costs(folder: Path, length: int) -> dict[str, GraphCost]:
    """Costs of each graph in a folder: of one sequence of ``length`` samples, or one block."""
    costs = {}
    for name in ("offline", "stream"):
        path = folder / f"{name}.onnx"
        if path.exists():
            graph = onnx.load(path)
            cost = graph_cost(graph, {"batch": 1, "time": length})
            costs[name] = GraphCost(cost.nodes, cost.multiply_adds, stored_bytes(graph))
    return costs


def stored_bytes(graph: onnx.ModelProto) -> dict[str, int]:
    """Return the bytes of a graph's constants by their kind, the largest first."""
    found = Counter[str]()
    for value in graph.graph.initializer:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.data_type)
        endings = [packed for ending, packed in PACKED.items() if kind == np.uint8 and value.name.endswith(ending)]
        found[endings[0] if endings else kind.name] += int(np.prod(value.dims)) * kind.itemsize
    return dict(found.most_common())
