"""The user's replaced model as an exported program with symbolic batch and time."""

from __future__ import annotations

import copyreg
import io
import itertools
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass

import sympy
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ssm2edge.errors import UserError
from ssm2edge.traced.causal_padding import drop_causal_padding
from ssm2edge.traced.differences import write_differences
from ssm2edge.traced.errors import ExportError, LengthError
from ssm2edge.traced.inputs import InputAxes, noise, repeated, time_of
from ssm2edge.traced.lengths import EXAMPLE_STEPS, GUARD, LARGEST, Lengths
from ssm2edge.traced.pooling import PoolingByWindows
from ssm2edge.traced.positions import longest_of_tables
from ssm2edge.traced.precision import check_precision
from ssm2edge.traced.running import run_program
from ssm2edge.traced.unused import remove_unused
from ssm2edge.traced.user_lines import UserLines, is_of_packing, line_of

EXAMPLE_BATCH = 3
"""Size of the traced example: not 0 or 1, which the exporter would take for a constant."""
ATTEMPTS = 12
"""Ranges of lengths that are tried."""


@dataclass(frozen=True, eq=False)
class TracedModel:
    """An exported program and what the export found out about its time axis.

    Attributes
    ----------
    program
        The model with symbolic sizes.
    inputs, outputs
        What goes in, and the names of what comes out.
    batch_symbol, time_symbol
        The symbols in the sizes; the time symbol counts multiples.
    multiple
        The model takes lengths that are divisible by this.
    shortest, longest
        Smallest length for which no value inside the model is empty, and the largest that the model takes, None without one.
    length
        The length at which the program was traced, whose sizes are numbers; None where time is a symbol.
    place
        Operation and line of the user's code that fix the length, or the longest one; empty where they are not known.
    free
        The same with a symbol for time, of which a stream is made, where the user asked for one length.
    """

    program: ExportedProgram
    inputs: tuple[InputAxes, ...]
    outputs: tuple[str, ...]
    batch_symbol: sympy.Symbol
    time_symbol: sympy.Symbol
    multiple: int = 1
    shortest: int = 1
    length: int | None = None
    place: str = ""
    longest: int | None = None
    free: TracedModel | None = None

    @property
    def only(self) -> int | None:
        """The only length that the model takes; None where there are several."""
        return self.longest if self.longest == self.shortest else None

    def batch_first(self, value: Tensor) -> bool:
        """Return True if the first axis of a traced tensor is the batch itself, neither a multiple of it nor something else."""
        return value.ndim > 0 and isinstance(value.shape[0], torch.SymInt) and value.shape[0].node.expr == self.batch_symbol

    def time_axes(self, value: object) -> tuple[int, ...]:
        """Return the axes of a traced tensor whose size is made of the time symbol; or is the length, where that is fixed."""
        if not isinstance(value, Tensor):
            return ()
        if self.length is not None:
            return tuple(i for i, size in enumerate(value.shape) if isinstance(size, int) and size == self.length)
        return tuple(i for i, size in enumerate(value.shape) if contains_symbol(size, self.time_symbol))

    def output_values(self) -> list[Tensor]:
        """The traced (shape-only) outputs."""
        (node,) = [node for node in self.program.graph.nodes if node.op == "output"]
        return [argument.meta["val"] for argument in node.args[0]]


def contains_symbol(size: object, symbol: sympy.Symbol) -> bool:
    """Return True if a traced size or number depends on ``symbol``."""
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
            with redirect_stderr(io.StringIO()):
                yield
        finally:
            logging.disable(before)


def trace(model: nn.Module, inputs: Sequence[InputAxes], outputs: Sequence[str] | None = None) -> TracedModel:
    """Export ``model`` with one symbol for the batch and one for time; ``outputs`` are names where they have any.

    A model that groups its samples (frames of 4, say) holds for lengths that are multiples of that only; which ones is found by
    trying what the exporter's report names.

    Raises
    ------
    ExportError
        If the model cannot be traced, or fixes its batch or length.
    """
    batch, lengths, lines, place = Dim("batch"), Lengths(), UserLines(), ""
    first, axis = time_of(inputs)
    for attempt in itertools.count(1):
        examples = tuple(_resized(entry, lengths) for entry in inputs)
        time = lengths.dimension()
        shapes = tuple({0: batch} | ({} if entry.time_axis is None else {entry.time_axis: time}) for entry in inputs)
        try:
            with quiet_exporter(), torch.no_grad(), lines.noted(), PoolingByWindows():
                program = torch.export.export(
                    model, examples, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=lengths.deferred
                )
        except UserError:
            raise  # a replaced layer that is used as it cannot be
        except Exception as error:  # torch.export raises many unrelated types; all mean the same to the user
            if "data-dependent" in str(error):
                place = f" at {line}" if (line := line_of(error)) else ""
                raise ExportError(
                    f"The model cannot be exported: its forward takes a number out of a tensor{place}, by a branch on a value, "
                    "float(x) or x.item(); compute with tensors, such as torch.where, and log outside."
                ) from error
            if is_of_packing(error):
                place = f" at {line}" if (line := line_of(error)) else ""
                raise ExportError(
                    f"The model cannot be exported: its forward packs sequences of different lengths{place}, which no "
                    "graph does; call the layer on the padded sequences, and mask its answers."
                ) from error
            narrower = lengths.narrowed(str(error))
            if narrower is None or attempt == ATTEMPTS:
                text = f"The model cannot be exported with free batch and time sizes: {_reason(error)}"
                if GUARD.search(str(error)) is None and "specialized" not in str(error):
                    text = (
                        f"{text.rstrip('.')}; write it so that it holds for every size, with time on axis {axis} of "
                        f"{inputs[first].name}, or say another axis with --time-axis."
                    )
                raise LengthError(text, lines.of_constant() or line_of(error)) from error
            if narrower.most != lengths.most:
                place = lines.of_constant() or line_of(error)
            lengths = narrower
        else:
            break
    _tidied(program)
    symbols = [_symbol(program, first, at) for at in (0, axis)]
    try:
        shortest = _shortest(program, symbols[1], lengths)
    except LengthError as error:
        raise LengthError(str(error), lines.of_constant()) from error
    if lengths != Lengths():
        _check_lengths(model, program, inputs, lengths, shortest)
    longest = min((x for x in (lengths.most, longest_of_tables(program, inputs)) if x is not None), default=None)
    names, (of_batch, of_time) = _names(program, outputs), symbols
    return TracedModel(program, tuple(inputs), names, of_batch, of_time, lengths.multiple, shortest, None, place, longest)


def trace_at(
    model: nn.Module, inputs: Sequence[InputAxes], length: int, outputs: Sequence[str] | None = None, place: str = ""
) -> TracedModel:
    """Export ``model`` with one symbol for the batch, for sequences of one length; see :func:`trace`.

    Raises
    ------
    ExportError
        If the model cannot be traced, or fixes its batch.
    """
    generator = torch.Generator().manual_seed(0)
    examples = tuple(noise(entry, EXAMPLE_BATCH, length, generator) for entry in inputs)
    shapes = tuple({0: Dim("batch")} for _ in inputs)
    try:
        with quiet_exporter(), torch.no_grad():
            program = torch.export.export(model, examples, dynamic_shapes=shapes)
    except UserError:
        raise  # a replaced layer that is used as it cannot be
    except Exception as error:  # torch.export raises many unrelated types; all mean the same to the user
        raise ExportError(f"The model cannot be exported for sequences of {length} samples: {_reason(error)}") from error
    _tidied(program)
    batch = _symbol(program, time_of(inputs)[0], 0)
    names, none = _names(program, outputs), sympy.Dummy("time")
    return TracedModel(program, tuple(inputs), names, batch, none, 1, length, length, place, length)


def _tidied(program: ExportedProgram) -> None:
    remove_unused(program)
    write_differences(program)
    check_precision(program)
    drop_causal_padding(program)


def _symbol(program: ExportedProgram, place: int, axis: int) -> sympy.Symbol:
    """Return the symbol in a size of an input."""
    given = [
        node
        for node, spec in zip(program.graph.nodes, program.graph_signature.input_specs, strict=False)
        if spec.kind == InputKind.USER_INPUT
    ]
    size = given[place].meta["val"].shape[axis]
    if not isinstance(size, torch.SymInt):
        raise LengthError("The model fixes the batch or length of its input; make its forward free of constant sizes.")
    (symbol,) = size.node.expr.free_symbols
    return symbol


def _names(program: ExportedProgram, given: Sequence[str] | None) -> tuple[str, ...]:
    count = len(program.graph_signature.user_outputs)
    return tuple(given or (("output",) if count == 1 else [f"output.{i}" for i in range(count)]))


def _check_lengths(
    model: nn.Module, program: ExportedProgram, inputs: Sequence[InputAxes], lengths: Lengths, shortest: int
) -> None:
    """Refuse a model that computes otherwise at other lengths: where it was not traced for all, the exporter does not see it."""
    generator = torch.Generator().manual_seed(0)
    first = shortest // lengths.multiple
    last = 2 * lengths.least + EXAMPLE_STEPS if lengths.most is None else lengths.most
    for steps in sorted({first, first + 1, first + 2, lengths.least, lengths.least + 1, last}):
        if not first <= steps <= last:
            continue
        samples = [noise(entry, 2, steps * lengths.multiple, generator) for entry in inputs]
        try:
            with torch.no_grad():
                answer = model(*samples)
        except Exception as error:  # the user's own code may raise anything
            raise LengthError(
                f"The model cannot be exported with free batch and time sizes: at a length of {steps * lengths.multiple} its "
                f"forward fails ({_reason(error)}); write it so that it holds for every size."
            ) from error
        expected = answer if isinstance(answer, tuple | list) else (answer,)
        found = next(reversed(run_program(program, samples).values()))
        same = all(
            x.shape == y.shape and torch.allclose(x, y, 1e-3, 1e-4, equal_nan=True) for x, y in zip(found, expected, strict=True)
        )
        if not same:
            raise LengthError(
                f"The model cannot be exported with free batch and time sizes: at a length of {steps * lengths.multiple} it "
                "computes something else than at others; write it so that it holds for every size."
            )


def _shortest(program: ExportedProgram, symbol: sympy.Symbol, lengths: Lengths) -> int:
    """The smallest length for which no value is empty; refuses a model that chose one of two computations by the length."""
    nodes = list(program.graph.nodes)
    ends = {abs(x) for node in nodes if _operator(node) in ("slice", "narrow") for x in node.args[2:4] if isinstance(x, int)}
    picked = {x if x >= 0 else -x - 1 for node in nodes if _operator(node) == "select" and isinstance(x := node.args[2], int)}

    def least_size(steps: int, of: list[torch.fx.Node]) -> int:
        sizes = (size for node in of for size in _sizes(node) if isinstance(size, torch.SymInt))
        try:
            values = [size.node.expr.xreplace({symbol: sympy.Integer(steps)}) for size in sizes]
        except ZeroDivisionError:
            return 0  # frames of no samples: some value is empty
        return min((int(value) for value in values if value.is_Integer), default=1)

    allowed = program.range_constraints[symbol]
    first, ends_early = max(lengths.least, int(allowed.lower)), allowed.upper < min(LARGEST, lengths.most or LARGEST)
    if ends_early or (first > 2 and least_size(first - 1, nodes) > 1 and first - 1 not in ends | picked):
        bounds = f"of {first * lengths.multiple} and more"
        if ends_early:
            bounds = f"up to {int(allowed.upper) * lengths.multiple}"
        raise LengthError(
            "The model cannot be exported with free batch and time sizes: "
            f"an operation holds only for lengths {bounds}; write it so that it holds for every size."
        )
    if first > 2 and first - 1 in picked:
        return lengths.multiple * first
    if first > 2 and first - 1 in ends:
        return lengths.multiple * (first - 1)
    # A slice may be empty, but there is no convolution and no pooling of nothing.
    calls = [node for node in nodes if any(word in _operator(node) for word in ("conv", "pool", "unfold"))]
    windows = [x for node in calls for x in (node, *node.all_input_nodes)]
    return lengths.multiple * next((steps for steps in range(1, first) if least_size(steps, windows) > 0), max(first, 1))


def _operator(node: torch.fx.Node) -> str:
    return str(getattr(node.target, "_opname", ""))


def _sizes(node: torch.fx.Node) -> list[object]:
    """Sizes of all tensors that a node gives."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return [size for x in values if isinstance(x, Tensor) for size in x.shape]


def _reason(error: Exception) -> str:
    """One line of the exporter's report; what it says of sizes, in the names of the user's code."""
    text = str(error).strip()
    guard = GUARD.search(text)
    if "specialized it to be a constant" in text:
        return (
            "an operation takes the length or the batch for a constant; write it so that it holds for every size, x.shape[0] in "
            "place of len(x)."
        )
    if guard is None:
        return text.splitlines()[0] if text else type(error).__name__
    condition = re.sub(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]", r"\1.shape[\2]", guard[1])
    return f"an operation holds only where {condition}; write it so that it holds for every size."


def _resized(entry: InputAxes, lengths: Lengths) -> Tensor:
    length = lengths.example()
    if entry.time_axis is None:
        return repeated(entry, EXAMPLE_BATCH, length)
    return torch.zeros(entry.resized(EXAMPLE_BATCH, length), dtype=entry.example.dtype)
