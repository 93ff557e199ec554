"""Places of intermediate values: those that are never needed at the same time share memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssm2edge.firmware.kernels import Kernel
from ssm2edge.firmware.language import c_type
from ssm2edge.firmware.views import Buffer


@dataclass(frozen=True)
class Memory:
    """Arrays of scratch memory, one for each C type.

    Attributes
    ----------
    sizes
        Count of elements by C type.
    places
        Place of the first element of every buffer in the array of its type.
    """

    sizes: Mapping[str, int]
    places: Mapping[Buffer, int]


def plan(kernels: Sequence[Kernel], kept: Sequence[Buffer] = ()) -> Memory:
    """Place the scratch buffers of kernels: the largest first, each at the lowest place that is free while it is needed.

    Parameters
    ----------
    kernels
        In the order in which they run.
    kept
        Buffers that are needed until the end.
    """
    spans: dict[Buffer, tuple[int, int]] = {}
    for turn, kernel in enumerate(kernels):
        for view in (*kernel.writes, *kernel.reads):
            base = view.buffer.base
            if base.role == "scratch" or base in kept:
                first, _ = spans.get(base, (turn, turn))
                spans[base] = (first, len(kernels) if base in kept else turn)
    sizes: dict[str, int] = {}
    places: dict[Buffer, int] = {}
    for buffer in sorted(spans, key=lambda b: -b.size):
        kind, (first, last) = c_type(buffer.dtype), spans[buffer]
        taken = sorted(
            (place, place + other.size)
            for other, place in places.items()
            if c_type(other.dtype) == kind and spans[other][0] <= last and first <= spans[other][1]
        )
        place = 0
        for start, stop in taken:
            if start - place >= buffer.size:
                break
            place = max(place, stop)
        places[buffer] = place
        sizes[kind] = max(sizes.get(kind, 0), place + buffer.size)
    return Memory(sizes, places)
