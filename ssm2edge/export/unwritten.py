"""Operations that the exporter could not write as ONNX: found in its report, and taken apart where torch composes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import fx
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram

from ssm2edge.traced.nodes import module_name, user_line

NODE = re.compile(r"%(\w+) : (?:\[num_users=\d+\] = )?call_function\[target=torch\.ops\.((?:aten|prims)\.[\w.]+)")
"""A call of one of torch's operators in a report; our own say themselves what they cannot do."""


def unwritten(error: BaseException, program: ExportedProgram) -> fx.Node | None:
    """Return the operation at which the exporter failed; None if it does not say."""
    calls: list[fx.Node] = [node for node in program.graph.nodes if isinstance(node.target, OpOverload)]
    for name, _ in _reported(error):
        # Parts of an operation have its name, or the end of it.
        found = [node for node in calls if node.name == name] or [node for node in calls if node.name.endswith(name)]
        if found:
            return found[0]
    return None


def _reported(error: BaseException) -> list[tuple[str, str]]:
    """Return name and operator of the nodes that an error and its causes report, innermost last."""
    return [reported for cause in _causes(error) for reported in NODE.findall(str(cause))]


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def is_composed(node: fx.Node) -> bool:
    """Return True if torch knows a node's operator as a composition of others."""
    return node.target in decomposition_table


def in_parts(node: fx.Node) -> Callable[..., Any]:
    """Return the composition that a node's operator is; it takes arguments by the names of the operator's."""
    target = node.target
    assert isinstance(target, OpOverload)
    composition, names = decomposition_table[target], [argument.name for argument in target._schema.arguments]

    def compose(*args: Any, **kwargs: Any) -> Any:
        return composition(args[0], **dict(zip(names[1:], args[1:], strict=False)), **kwargs)

    return compose


def sentence(error: Exception, node: fx.Node | None) -> str:
    """Return one line that names the operation, with its module and the user's line where they are known."""
    if node is None and (reported := _reported(error)):
        return f"{reported[-1][1]} has no form there; compute it by other operations."
    if node is None:
        *_, cause = _causes(error)
        return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    line, module = user_line(node), module_name(node)
    place = f"{f' at {line}' if line else ''}{f' in module {module}' if module else ''}"
    return f"{node.target}{place} has no form there; compute it by other operations."
