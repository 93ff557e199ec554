"""Zeros around the input of a causal filter, and the cut that undoes them, taken out of a program.

A long convolution stands between a padding and a slice: zeros in front, from which its filter sees the whole past, and the first
samples cut off; or zeros behind, and its tail cut off.  A system that starts from zero states answers zeros in front with zeros,
and does not look at what comes behind:

    filter(pad(x, (l, r)))[l : l + length of x] = filter(x)

Requires a program with symbolic sizes.  Ensures the same values with that many samples less to compute, and a graph that can
stream without buffers of the padding's length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx
from torch.export import ExportedProgram

from ssm2edge.layers import mimo_operators, operators
from ssm2edge.traced.nodes import argument_of, operator_name

TIME_FROM_END: Mapping[Any, int] = {operators.siso_bank._opoverload: 1, mimo_operators.mimo._opoverload: 2}
"""Position of time in the inputs of our operators, counted from the last axis."""

POINTWISE = frozenset({"add", "sub", "mul"})
"""Operators that may stand between the filter and the cut, with a constant: the filter's offset."""


def drop_causal_padding(program: ExportedProgram) -> bool:
    """Rewrite a program in place, and return whether anything was changed."""
    changed = [_drop(node) for node in list(program.graph.nodes) if node.target in TIME_FROM_END]
    if any(changed):
        program.graph_module.recompile()
    return any(changed)


def _drop(filter: fx.Node) -> bool:
    padding = filter.args[0]
    assert isinstance(padding, fx.Node)
    from_end = TIME_FROM_END[filter.target]
    found = _padding_of(padding, from_end)
    if found is None:
        return False
    x, left = found
    between = [filter]
    while len(between[-1].users) == 1 and _is_pointwise(next(iter(between[-1].users)), between[-1], from_end):
        between.append(next(iter(between[-1].users)))
    cuts = list(between[-1].users)
    if not cuts or not all(_undoes(cut, x, left, from_end) for cut in cuts):
        return False
    filter.replace_input_with(padding, x)
    for node in between:
        node.meta["val"] = cuts[0].meta["val"].new_empty(cuts[0].meta["val"].shape, dtype=node.meta["val"].dtype)
    for cut in cuts:
        cut.replace_all_uses_with(between[-1])
        cut.graph.erase_node(cut)
    if not padding.users:
        padding.graph.erase_node(padding)
    return True


def _padding_of(node: fx.Node, from_end: int) -> tuple[fx.Node, int] | None:
    """Return the value that is padded with zeros along time alone, and how many of them stand in front."""
    if operator_name(node) == "pad":
        mode, value = argument_of(node, 2, "mode", "constant"), argument_of(node, 3, "value", 0)
    elif operator_name(node) == "constant_pad_nd":
        mode, value = "constant", argument_of(node, 2, "value", 0)
    else:
        return None
    x, pads = node.args[:2]
    if mode != "constant" or (value or 0) != 0 or not isinstance(x, fx.Node) or not isinstance(pads, list | tuple):
        return None
    place = 2 * (from_end - 1)
    along = [*pads, *[0] * (place + 2)][place : place + 2]
    elsewhere = [*pads[:place], *pads[place + 2 :]]
    if any(pad != 0 for pad in elsewhere) or not all(isinstance(pad, int) and pad >= 0 for pad in along):
        return None
    return x, int(str(along[0]))


def _is_pointwise(node: fx.Node, filtered: fx.Node, from_end: int) -> bool:
    """Return True if a node combines the filtered values with something that is the same at all times, or changes nothing."""
    if operator_name(node) == "slice" and node.args[0] is filtered:
        return [_size(size) for size in node.meta["val"].shape] == [_size(size) for size in filtered.meta["val"].shape]
    if operator_name(node) not in POINTWISE or len(node.args) != 2 or node.kwargs:
        return False
    others = [argument for argument in node.args if argument is not filtered]
    values = [argument.meta.get("val") if isinstance(argument, fx.Node) else argument for argument in others]
    rank = filtered.meta["val"].ndim
    return len(others) == 1 and all(
        isinstance(value, int | float)
        or (isinstance(value, Tensor) and value.ndim <= rank and (value.ndim < from_end or value.shape[-from_end] == 1))
        for value in values
    )


def _undoes(node: fx.Node, x: fx.Node, left: int, from_end: int) -> bool:
    """Return True if a node is the slice of the filtered values that belongs to the samples before padding."""
    if operator_name(node) != "slice" or any(user.op == "output" for user in node.users):
        return False
    before, after = x.meta["val"], node.meta["val"]
    axis = before.ndim - from_end
    along = int(argument_of(node, 1, "dim", 0)) % before.ndim == axis and argument_of(node, 4, "step", 1) == 1
    starts = (argument_of(node, 2, "start", 0) or 0) == left
    return along and starts and bool(_size(after.shape[axis]) == _size(before.shape[axis]))


def _size(size: Any) -> Any:
    """A traced size as an expression that can be compared without a guard."""
    return size if isinstance(size, int) else size.node.expr
