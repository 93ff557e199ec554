"""Operator and arguments of a node of an exported program, and the module and the line of the user's code that call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx import traceback

aten = torch.ops.aten

SAME_ORDER = frozenset(
    {"reshape", "reshape_as", "squeeze", "unsqueeze", "view", "view_as", "flatten", "unflatten", "_unsafe_view"}
)
"""aten operators that keep the order of elements."""


def traced_value(argument: object) -> object:
    """The shape-only value of a node's argument; other arguments are their own value."""
    return argument.meta.get("val") if isinstance(argument, fx.Node) else argument


def tensor_arguments(node: fx.Node) -> list[Tensor]:
    """The shape-only tensors among a node's arguments, lists included."""
    found: list[Tensor] = []

    def visit(argument: fx.Node) -> fx.Node:
        value = argument.meta.get("val")
        if isinstance(value, Tensor):
            found.append(value)
        return argument

    fx.map_arg((node.args, node.kwargs), visit)
    return found


def argument_of(node: fx.Node, position: int, keyword: str, default: object = None) -> Any:
    """One argument of a call, wherever it stands."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(keyword, default)


def normal_dimensions(dimensions: object, rank: int) -> tuple[int, ...]:
    """Dimensions of an operator's argument (None, one or a list, negative or not) as non-negative numbers; None means all."""
    if dimensions is None:
        return tuple(range(rank))
    if isinstance(dimensions, int):
        dimensions = [dimensions]
    assert isinstance(dimensions, list | tuple)
    return tuple(sorted(int(d) % rank for d in dimensions))


def operator_name(node: fx.Node) -> str | None:
    """Name of an aten operator, without the mark of those that work in place; None for anything else."""
    if node.op != "call_function" or getattr(node.target, "namespace", None) != "aten":
        return None
    return str(getattr(node.target, "_opname", "")).removesuffix("_") or None


def module_name(node: fx.Node) -> str:
    """Dotted path of the innermost module that calls the node; empty at the top."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [path for path, _ in stack.values()]
    return str(names[-1]) if names else ""


def user_line(node: fx.Node) -> str:
    """Return the place at which the user's code calls the node, as ``file:line``, or an empty string."""
    return line_of(str(node.meta.get("stack_trace") or ""))


def line_of(trace: str) -> str:
    """Return the innermost place of a stack trace that is not torch's, as ``file:line``, or an empty string."""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith('File "')]
    lines = [line for line in lines if "/torch/" not in line and not line.startswith('File "torch/')]
    if not lines:
        return ""
    file, _, rest = lines[-1].removeprefix('File "').partition('", line ')
    return f"{file}:{rest.split(',')[0]}"


@contextmanager
def at_line_of(node: fx.Node) -> Iterator[None]:
    """Give what is traced within the place of the user's code that calls a node, in place of our own."""
    trace = node.meta.get("stack_trace")
    if not trace:
        yield
        return
    with traceback.preserve_node_meta():
        before = traceback.current_meta
        traceback.current_meta = {**before, "stack_trace": trace}
        try:
            yield
        finally:
            traceback.current_meta = before
