"""Nodes and multiply-adds of the graphs."""

from __future__ import annotations

from pathlib import Path

import onnx

from ssm2edge.artifact import GraphCost
from ssm2edge.export.cost import graph_cost


def graph_costs(folder: Path, length: int) -> dict[str, GraphCost]:
    """Nodes and multiply-adds of each graph in a folder: of one sequence of ``length`` samples, or one block."""
    costs = {}
    for name in ("offline", "stream"):
        path = folder / f"{name}.onnx"
        if path.exists():
            cost = graph_cost(onnx.load(path), {"batch": 1, "time": length})
            costs[name] = GraphCost(cost.nodes, cost.multiply_adds)
    return costs
