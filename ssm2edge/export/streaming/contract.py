"""What a streaming rule is.

The pass walks an exported program node by node.  A node that touches time is handed to the first rule that accepts it; the rule
computes the node's value for one block of samples, and owns a state if it must remember the past.  Nodes without time are
computed as they are.  A node no rule accepts is refused by name.

A value need not be known exactly up to its block's end: padded on the left by two samples it is known two samples further, and a
convolution over three samples falls two behind again.  The pass keeps that number, ``ahead``, for every value.  After n samples
of the model's input, the first ``rate x n + ahead`` samples of a value are known, and its block holds the newly known ones.  So
padding on the left, or cutting off the end, costs nothing and delays nothing; only where two values are ahead by different
numbers, or where a sample must be told by its number, is the one that is further held back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, fx

from ssm2edge.export.nodes import module_name

if TYPE_CHECKING:
    from ssm2edge.export.streaming.walk import Walk


@dataclass(frozen=True)
class StateSpec:
    """One packed state tensor ``(batch, *shape)``, float32, initially zero."""

    name: str
    shape: tuple[int, ...]

    @property
    def input_name(self) -> str:
        """Name of the state before the block."""
        return f"state.{self.name}"

    @property
    def output_name(self) -> str:
        """Name of the state after the block."""
        return f"next.{self.name}"


BlockFunction = Callable[[tuple[object, ...], dict[str, object], Tensor | None], tuple[object, Tensor | None]]
"""(args, kwargs, state or None) of a node -> (its value for the block, the state after the block or None)."""


@dataclass(frozen=True)
class BlockStep:
    """How one node is computed block by block.

    Attributes
    ----------
    compute
        The node's value for a block.
    state
        What it remembers.
    ahead
        How far the value is known, see the module; None for values without time.
    final
        Whether the value is known after the last sample only (a pooled one), so that no sample may depend on it.
    delays
        Arguments that are taken so many samples late.
    """

    compute: BlockFunction
    state: StateSpec | None = None
    ahead: int | None = None
    final: bool = False
    delays: Mapping[fx.Node, int] = field(default_factory=dict)


class Rule(Protocol):
    """One way in which operations meet time.

    Requires
        ``node`` is a call of an aten operator or one of ours, and an argument or its value has the time axis.
    Ensures
        Blocks computed in order, each with the state the one before left, concatenate to the node's value on the whole
        sequence, from its sample ``ahead`` on; for a node that removes time, the value after each block is the node's value on
        all samples so far.
    """

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Return how to compute the node, or None if the rule does not cover it."""


def as_is(node: fx.Node, ahead: int | None, delays: Mapping[fx.Node, int]) -> BlockStep:
    """Step of a node that treats every sample by itself."""
    target = node.target

    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        assert callable(target)
        return target(*args, **kwargs), None

    return BlockStep(compute, ahead=ahead, delays=delays)


def state_name(node: fx.Node, kind: str = "") -> str:
    """Name of a state that the node owns: its module's, and what kind of state it is; the node's own outside of modules."""
    return ".".join(part for part in (module_name(node), kind) if part) or node.name
