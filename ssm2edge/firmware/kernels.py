"""Kernels: what a step does, one after another.  A loop computes elements by formulas, a call runs a function over whole rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ssm2edge.firmware.views import Buffer, Shape, View


@dataclass(frozen=True)
class Formula:
    """One number from others.

    Attributes
    ----------
    text
        C expression with places ``{0}``, ``{1}``, ...
    operands
        Numbers of earlier values of the loop.
    kind
        C type of the result.
    """

    text: str
    operands: tuple[int, ...]
    kind: str


@dataclass(frozen=True, eq=False)
class Load:
    """An element of a view at the index of the loop."""

    view: View


@dataclass(frozen=True, eq=False)
class Store:
    """A number put to a view at the index of the loop.

    Attributes
    ----------
    view
        Elements to write; an axis of stride zero is one that the number is reduced over.
    value
        Number of the value.
    join
        How several numbers at one element become one: a C expression of ``{0}``, so far, and ``{1}``, new; empty without.
    first
        What there is before the first number, as a C constant.
    """

    view: View
    value: int
    join: str = ""
    first: str = ""


@dataclass(eq=False)
class Loop:
    """Formulas for every index of a shape.

    Attributes
    ----------
    shape
        Sizes of the index; views have as many axes.
    values
        Loads and formulas, each of the numbers of earlier ones.
    stores
        Results.
    titles
        Names of the nodes that it computes.
    helpers
        Functions that the formulas call.
    """

    shape: Shape
    values: list[Load | Formula]
    stores: list[Store]
    titles: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)

    @property
    def reads(self) -> list[View]:
        """Views that it reads."""
        return [value.view for value in self.values if isinstance(value, Load)]

    @property
    def writes(self) -> list[View]:
        """Views that it writes."""
        return [store.view for store in self.stores]


@dataclass(eq=False)
class Call:
    """A function over whole rows.

    Attributes
    ----------
    reads, writes
        Contiguous views.
    text
        Makes its C lines of pointers to what it reads and writes, in this order.
    titles
        Names of the nodes that it computes.
    helpers
        Functions that it calls.
    multiply_adds
        Of one step.
    """

    reads: list[View]
    writes: list[View]
    text: Callable[[Sequence[str]], list[str]]
    titles: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)
    multiply_adds: int = 0


Kernel = Loop | Call


def writers(kernels: Sequence[Kernel]) -> dict[Buffer, list[Kernel]]:
    """Return the kernels that write to each buffer."""
    found: dict[Buffer, list[Kernel]] = {}
    for kernel in kernels:
        for view in kernel.writes:
            found.setdefault(view.buffer, []).append(kernel)
    return found


def readers(kernels: Sequence[Kernel]) -> dict[Buffer, list[Kernel]]:
    """Return the kernels that read each buffer."""
    found: dict[Buffer, list[Kernel]] = {}
    for kernel in kernels:
        for view in kernel.reads:
            found.setdefault(view.buffer, []).append(kernel)
    return found
