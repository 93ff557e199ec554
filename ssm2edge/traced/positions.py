"""Values that run along time and depend on the length of the input alone, such as the embedding of positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from ssm2edge.traced.inputs import InputAxes
from ssm2edge.traced.nodes import operator_name, traced_value
from ssm2edge.traced.running import held_tensors


def positional(program: ExportedProgram) -> set[fx.Node]:
    """Return the nodes whose values depend on sizes of the inputs, and on nothing else of them."""
    held, found = held_tensors(program), set[fx.Node]()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            known = node.name in held
        elif node.op == "call_function":
            known = operator_name(node) == "sym_size" or all(x in found for x in node.all_input_nodes)
        else:
            known = False
        if known:
            found.add(node)
    return found


def needed_for(wanted: Sequence[fx.Node]) -> set[fx.Node]:
    """Return some nodes and all that they are made of."""
    needed, waiting = set(wanted), list(wanted)
    while waiting:
        new = [x for x in waiting.pop().all_input_nodes if x not in needed]
        needed.update(new)
        waiting += new
    return needed


def values_at(program: ExportedProgram, wanted: Sequence[fx.Node], inputs: Sequence[InputAxes], length: int) -> list[Any]:
    """Return the values of positional nodes for one sequence of a length."""
    needed, known = needed_for(wanted), positional(program)
    held = held_tensors(program)
    given = iter([torch.zeros(entry.resized(1, length), dtype=entry.example.dtype) for entry in inputs])
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = held[node.name] if node.name in held else next(given)
            elif node in needed and node in known:
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: values[argument])
                values[node] = node.target(*args, **kwargs)
    return [values[node] for node in wanted]


def longest_of_tables(program: ExportedProgram, inputs: Sequence[InputAxes]) -> int | None:
    """Return the largest length at which every position has a row in its table; None without such tables."""
    known, longest = positional(program), None
    for node in program.graph.nodes:
        for indices, rows in _picked(node) if node in known else ():
            if any(isinstance(size, torch.SymInt) for size in indices.meta["val"].shape):
                most = _longest(program, inputs, indices, rows)
                longest = most if longest is None else min(most, longest)
    return longest


def _picked(node: fx.Node) -> Iterator[tuple[fx.Node, int]]:
    """Yield the indices by which a node picks rows of a table, and how many there are."""
    name, arguments = operator_name(node), node.args
    pairs: list[tuple[Any, int]] = []
    if name == "embedding":
        pairs = [(arguments[1], 0)]
    elif name == "index_select":
        pairs = [(arguments[2], cast(int, arguments[1]))]
    elif name == "index" and isinstance(arguments[1], list | tuple):
        pairs = [(indices, axis) for axis, indices in enumerate(arguments[1])]
    table = traced_value(arguments[0]) if pairs else None
    for indices, axis in pairs:
        if isinstance(table, Tensor) and isinstance(indices, fx.Node) and isinstance(table.shape[axis], int):
            yield indices, table.shape[axis]


def _longest(program: ExportedProgram, inputs: Sequence[InputAxes], indices: fx.Node, rows: int) -> int:
    """Return the largest length at which no index is behind the last row."""
    first, last = 1, rows + 1
    while last - first > 1:
        middle = (first + last) // 2
        (found,) = values_at(program, [indices], inputs, middle)
        first, last = (middle, last) if int(found.max()) < rows else (first, middle)
    return first
