"""The user's replaced model as an exported program with symbolic batch and time."""

from __future__ import annotations

import copyreg
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sympy
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ssm2edge.export.errors import ExportError

EXAMPLE_BATCH = 3
EXAMPLE_LENGTH = 37
"""Sizes of the traced example: not 0 or 1, which the exporter would take for constants, and unlike each other."""


@dataclass(frozen=True)
class InputAxes:
    """One input of the model: its axes, and an example.

    Attributes
    ----------
    name
        Argument name in the model's forward.
    time_axis
        Position of time in its shape; the batch is axis 0.
    example
        Any tensor of the right dtype and trailing sizes; its batch and time sizes do not matter.
    """

    name: str
    time_axis: int
    example: Tensor


@dataclass(frozen=True, eq=False)
class TracedModel:
    """An exported program and what the export found out about its time axis."""

    program: ExportedProgram
    inputs: tuple[InputAxes, ...]
    outputs: tuple[str, ...]
    batch_symbol: sympy.Symbol
    time_symbol: sympy.Symbol

    def batch_first(self, value: Tensor) -> bool:
        """Whether the first axis of a traced tensor is the batch itself, neither a multiple of it nor something else."""
        return value.ndim > 0 and isinstance(value.shape[0], torch.SymInt) and value.shape[0].node.expr == self.batch_symbol

    def time_axes(self, value: object) -> tuple[int, ...]:
        """Axes of a traced tensor whose size is made of the time symbol."""
        if not isinstance(value, Tensor):
            return ()
        return tuple(i for i, size in enumerate(value.shape) if contains_symbol(size, self.time_symbol))

    def output_values(self) -> list[Tensor]:
        """The traced (shape-only) outputs."""
        (node,) = [node for node in self.program.graph.nodes if node.op == "output"]
        return [argument.meta["val"] for argument in node.args[0]]


def contains_symbol(size: object, symbol: sympy.Symbol) -> bool:
    """Whether a traced size or number depends on ``symbol``."""
    if isinstance(size, torch.SymInt | torch.SymFloat | torch.SymBool):
        return symbol in size.node.expr.free_symbols
    return False


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's notes away from our users: on its deprecations, on packages we do not need, and its logged tracebacks.

    What it cannot do it also raises; the sentence made of that is all a user should see.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=copyreg.__name__)
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def trace(model: nn.Module, inputs: Sequence[InputAxes]) -> TracedModel:
    """Export ``model`` with one symbol for the batch and one for time.

    Raises
    ------
    ExportError
        If the model cannot be traced, or fixes its batch or length.
    """
    batch, time = Dim("batch"), Dim("time")
    examples = tuple(_resized(entry) for entry in inputs)
    shapes = tuple({0: batch, entry.time_axis: time} for entry in inputs)
    try:
        with quiet_exporter(), torch.no_grad():
            program = torch.export.export(model, examples, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many unrelated types; all mean the same to the user
        raise ExportError(f"The model cannot be exported with free batch and time sizes: {_reason(error)}") from error
    first_input = next(
        node
        for node, spec in zip(program.graph.nodes, program.graph_signature.input_specs, strict=False)
        if spec.kind == InputKind.USER_INPUT
    )
    symbols = []
    for axis in (0, inputs[0].time_axis):
        size = first_input.meta["val"].shape[axis]
        if not isinstance(size, torch.SymInt):
            raise ExportError("The model fixes the batch or length of its input; make its forward free of constant sizes.")
        (symbol,) = size.node.expr.free_symbols
        symbols.append(symbol)
    count = len(program.graph_signature.user_outputs)
    names = ("output",) if count == 1 else tuple(f"output.{i}" for i in range(count))
    return TracedModel(program, tuple(inputs), names, *symbols)


def _reason(error: Exception) -> str:
    """One line of the exporter's report; what it says of sizes, in the names of the user's code."""
    text = str(error).strip()
    guard = re.search(r"satisfy the generated guard (.+)\.$", text, re.MULTILINE)
    if guard is None:
        return text.splitlines()[0] if text else type(error).__name__
    condition = re.sub(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]", r"\1.shape[\2]", guard[1])
    return f"an operation holds only where {condition}; write it so that it holds for every size."


def _resized(entry: InputAxes) -> Tensor:
    shape = list(entry.example.shape)
    shape[0], shape[entry.time_axis] = EXAMPLE_BATCH, EXAMPLE_LENGTH
    return torch.zeros(shape, dtype=entry.example.dtype)
