"""Which inner values of a whole-sequence graph go into which reduced layer and come out of it.

So errors can be told layer by layer, and each layer can be run by itself.
"""

from __future__ import annotations

import onnx

from ssm2edge.lowering.functions import DOMAIN

POLES = ".block.a"
"""How the first constant of a layer's node is called behind the layer's name."""


def layer_values(graph: onnx.GraphProto) -> list[dict[str, str]]:
    """Name, output and input of every layer, in the graph's order, read before its nodes become plain ones.

    A layer that is called several times is named with a number from its second call on.
    """
    found: list[dict[str, str]] = []
    calls: dict[str, int] = {}
    for node in graph.node:
        if node.domain != DOMAIN or "Sequence" not in node.op_type:
            continue
        constant = f".{node.input[1]}"
        if not constant.endswith(POLES):
            continue
        name = constant.removesuffix(POLES).removeprefix(".")
        found.append({"name": numbered(name, calls), "value": node.output[0], "input": node.input[0]})
    return found


def numbered(name: str, calls: dict[str, int]) -> str:
    """Name of this call of a layer; counts it in ``calls``."""
    calls[name] = calls.get(name, 0) + 1
    return name if calls[name] == 1 else f"{name}@{calls[name]}"
