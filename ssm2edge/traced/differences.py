"""Differences along an axis, ``diff(x, prepend=...)``, written as two parts of a sequence, which the rules of streams know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from ssm2edge.traced.nodes import argument_of, aten, normal_dimensions, operator_name


def write_differences(program: ExportedProgram) -> None:
    """Rewrite first differences in place; those of higher orders and with samples put behind stay."""
    for node in list(program.graph.nodes):
        if operator_name(node) == "diff" and argument_of(node, 1, "n", 1) == 1 and argument_of(node, 4, "append") is None:
            _write(node)
    program.graph_module.recompile()


def _write(node: fx.Node) -> None:
    x, graph = node.args[0], node.graph
    assert isinstance(x, fx.Node)
    (axis,) = normal_dimensions(argument_of(node, 2, "dim", -1), x.meta["val"].ndim)
    before = argument_of(node, 3, "prepend")

    def put(target: Callable[..., Any], *args: Any) -> fx.Node:
        made = graph.call_function(target, args)
        made.meta = {name: value for name, value in node.meta.items() if name != "val"}
        made.meta["val"] = target(*fx.map_arg(args, lambda argument: argument.meta["val"]))
        return made

    with graph.inserting_before(node):
        whole = x if before is None else put(aten.cat.default, [before, x], axis)
        later = put(aten.slice.Tensor, whole, axis, 1, sys.maxsize)
        earlier = put(aten.slice.Tensor, whole, axis, 0, -1)
        difference = put(aten.sub.Tensor, later, earlier)
    node.replace_all_uses_with(difference)
    graph.erase_node(node)
