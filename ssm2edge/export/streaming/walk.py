"""The pass's notes on the values behind it: how far ahead each is known, and which are known at the end only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.lead_in import lead_in_samples
from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.timeline import Timeline, fixed_size, timeline
from ssm2edge.export.streaming.trial import Trial
from ssm2edge.layers.contract import DIRECTIONS
from ssm2edge.traced.errors import StreamingError
from ssm2edge.traced.nodes import SAME_ORDER, module_name, operator_name, user_line
from ssm2edge.traced.program import TracedModel


class Walk:
    """The pass's notes, which rules read; see :mod:`ssm2edge.export.streaming.contract` for ``ahead``.

    Attributes
    ----------
    traced
        The model.
    frame
        Fewest samples of input that every value's rate divides into whole samples; blocks are multiples of it.
    trial
        The model's values on noise.
    given
        An input of the model.
    positional
        Nodes so far whose values depend on sizes of the inputs alone, and have no step.
    ranks
        Number of axes of the values that positional ones meet.
    """

    def __init__(self, traced: TracedModel) -> None:
        self.traced = traced
        self.frame = traced.multiple
        self._ahead: dict[fx.Node, int] = {}
        self._final: set[fx.Node] = set()
        # Where a value first fell behind its own end, or got another length than the input.
        self._cause: dict[fx.Node, fx.Node] = {}
        self.trial = Trial(traced)
        self.given: fx.Node | None = None
        self.positional: set[fx.Node] = set()
        self.ranks: dict[fx.Node, int] = {}
        self._batch_major: dict[fx.Node, bool] = {}

    def timeline(self, node: object) -> Timeline | None:
        """The timeline of a node's value; None where it has none, or is no tensor."""
        return timeline(node.meta.get("val"), self.traced) if isinstance(node, fx.Node) else None

    def rows(self, node: fx.Node) -> Timeline | None:
        """Return the timeline of a node's value, also where its axis holds the samples of all sequences of the batch."""
        return timeline(node.meta.get("val"), self.traced, merged=True)

    def batch_major(self, node: fx.Node) -> bool:
        """Return True if, of a value with time, a sequence's samples follow each other before the next sequence's come."""
        return self._batch_major[node] if node in self._batch_major else self.traced.batch_first(node.meta["val"])

    def rows_of_batch(self, node: fx.Node) -> int | None:
        """Return how many rows of a value belong to each sequence, next to each other; None if its first axis is no batch.

        They are more than one where channels were joined to the batch, in front of which it stood.
        """
        value = node.meta["val"]
        if self.traced.batch_first(value):
            return 1
        size = value.shape[0] if value.ndim else None
        share = size.node.expr / self.traced.batch_symbol if isinstance(size, torch.SymInt) else None
        if share is None or not share.is_Integer:
            return None
        source = next(iter(self.timed(node)), None)
        while source is not None and not self.traced.batch_first(source.meta["val"]):
            node, source = source, next(iter(self.timed(source)), None)
        joined = source is not None and operator_name(node) in SAME_ORDER
        return int(share) if joined else None

    def ahead(self, node: fx.Node) -> int:
        """Return how far ahead a value with time is known."""
        return self._ahead[node]

    def is_final(self, node: fx.Node) -> bool:
        """Return True if a value without time is known after the last sample only."""
        return node in self._final

    def timed(self, node: fx.Node) -> list[fx.Node]:
        """Arguments of a node that run along time."""
        return [x for x in node.all_input_nodes if isinstance(x.meta.get("val"), Tensor) and self.traced.time_axes(x.meta["val"])]

    def aligned(self, nodes: Sequence[fx.Node]) -> tuple[int, dict[fx.Node, int]]:
        """The number by which all of the nodes are ahead at least, and the delays that bring each to it."""
        least = min(self._ahead[x] for x in nodes)
        return least, {x: self._ahead[x] - least for x in nodes if self._ahead[x] > least}

    def without_end(self, node: fx.Node) -> tuple[int, dict[fx.Node, int]]:
        """Return how far ahead a value is before something is put behind its end, and the delay for it.

        Samples that lie behind the end of what has come so far are then other ones than those that will come.
        """
        line = self.timeline(node)
        assert line is not None
        ahead = self._ahead[node]
        least = min(ahead, line.offset)
        return least, {node: ahead - least} if ahead > least else {}

    def settled(self, node: fx.Node) -> dict[fx.Node, int]:
        """The delay after which a value is known exactly up to the block's end, sample for sample.

        Raises
        ------
        StreamingError
            If it depends on later samples, or has another length than the input.
        """
        line = self.timeline(node)
        if line is None:
            raise StreamingError(refusal(node, "holds samples of different times and sequences in one axis"))
        ahead = self._ahead[node]
        if line.offset == 0 and ahead >= 0:
            return {node: ahead} if ahead else {}
        cause = self._cause.get(node, node)
        if line.offset == 0:
            raise StreamingError(refusal(cause, f"looks ahead: its value needs {_samples(-ahead)} that come after it"))
        more = "adds" if line.offset > 0 else "cuts off"
        raise StreamingError(refusal(cause, f"changes the length of the sequence ({more} {_samples(abs(line.offset))})"))

    def lead_in(self, node: fx.Node, start: int, stop: int, rows: int = 1) -> Tensor | None:
        """Samples of a value that are known before the model's first, ``(rows, ...)``; None if all are zero.

        Raises
        ------
        StreamingError
            If they depend on the input.
        """
        line = self.timeline(node)
        assert line is not None
        found = lead_in_samples(self.trial, node, line, start, stop, self.frame, rows)
        if found is None:
            cause = self._cause.get(node, node)
            raise StreamingError(refusal(cause, "begins with samples that depend on the input"))
        return found if bool(found.any()) else None

    def refuse_behind(self, node: fx.Node, argument: fx.Node) -> None:
        """Refuse to extend a value on the left whose first samples do not exist.

        Raises
        ------
        StreamingError
            If the argument needs samples that come after its value.
        """
        if self._ahead[argument] < 0:
            cause = self._cause.get(argument, node)
            raise StreamingError(refusal(cause, f"needs {_samples(-self._ahead[argument])} that come after its value"))

    def note(self, node: fx.Node, step: BlockStep) -> None:
        """Keep what a rule found out about a node's value."""
        if step.final:
            self._final.add(node)
        values = node.meta.get("val")
        for value in values if isinstance(values, list | tuple) else [values]:
            line = timeline(value, self.traced, merged=True)
            if line is None:
                continue
            assert step.ahead is not None
            if line.merged:
                self._batch_major[node] = self.batch_major(self.timed(node)[0])
            self._ahead[node] = step.ahead
            self.frame = math.lcm(self.frame, line.rate.denominator)
            if step.ahead < line.offset or line.offset != 0:
                self._cause[node] = next((self._cause[x] for x in self.timed(node) if x in self._cause), node)

    def note_input(self, node: fx.Node) -> None:
        """An input of the model is known exactly up to the block's end."""
        self._ahead[node] = 0
        self.given = node

    def note_element(self, node: fx.Node, source: fx.Node) -> None:
        """An element of a tuple is as far ahead as the tuple."""
        if source in self._ahead and self.traced.time_axes(node.meta.get("val")):
            self._ahead[node] = self._ahead[source]
        if source in self._cause:
            self._cause[node] = self._cause[source]

    def note_final(self, node: fx.Node) -> None:
        """A value made of final ones is final."""
        self._final.add(node)


def refusal(node: fx.Node, what: str) -> str:
    """The sentence that refuses a model."""
    layer, _, part = module_name(node).rpartition(".")
    if part == DIRECTIONS[1]:
        return (
            f"The model cannot stream: layer {layer or '(the model)'} runs from the end of the sequence to its start, too; only "
            "the whole-sequence graph can be built from it."
        )
    where = user_line(node)
    place = f" at {where}" if where else ""
    return (
        f"The model cannot stream: the operation {node.target}{place} {what}, which no streaming rule covers; "
        "only the whole-sequence graph can be built from it."
    )


def fixed_length(traced: TracedModel) -> str:
    """Return the sentence that refuses a model of one length."""
    place = f"{traced.place} fixes the length" if traced.place else "it does not hold for every length"
    return (
        f"The model takes sequences of exactly {traced.length} samples, and cannot stream, because {place}; only the "
        "whole-sequence graph can be built from it."
    )


def static_sizes(value: Tensor, skipped: Sequence[int]) -> tuple[int, ...] | None:
    """Sizes of a traced tensor but for the skipped axes; None if one of them is not fixed."""
    sizes = [fixed_size(size) for axis, size in enumerate(value.shape) if axis not in skipped]
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None


def _samples(count: int) -> str:
    return f"{count} sample" if count == 1 else f"{count} samples"
