"""The computation of one node block by block, and its memory between blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, fx

from ssm2edge.traced.nodes import module_name


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
    """The computation of one node block by block.

    Attributes
    ----------
    compute
        The node's value for a block.
    state
        What it remembers.
    ahead
        How far the value is known, see :mod:`ssm2edge.export.streaming.contract`; None for values without time.
    final
        Whether the value is known after the last sample only (a pooled one), so that no sample may depend on it.
    delays
        Arguments that are taken so many samples late.
    beside
        A further value that is handed to the function, behind the arguments.
    alone
        True if the function takes no arguments but that.
    """

    compute: BlockFunction
    state: StateSpec | None = None
    ahead: int | None = None
    final: bool = False
    delays: Mapping[fx.Node, int] = field(default_factory=dict)
    beside: fx.Node | None = None
    alone: bool = False


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
