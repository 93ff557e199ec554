"""Values that a program computes and nothing reads, taken out of it: a loss, a value for a log, the exporter's notes on sizes."""

from __future__ import annotations

from torch import fx
from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram


def remove_unused(program: ExportedProgram) -> None:
    """Erase, in place, every operation that neither an output nor a tensor changed in place depends on."""
    for node in reversed(list(program.graph.nodes)):
        if node.op == "call_function" and not node.users and not _changes_something(node):
            node.graph.erase_node(node)
    program.graph_module.recompile()


def _changes_something(node: fx.Node) -> bool:
    """Return True if a node is there for more than its value; a program within the program may be."""
    schema = getattr(node.target, "_schema", None)
    return isinstance(node.target, HigherOrderOperator) or (schema is not None and bool(schema.is_mutable))
