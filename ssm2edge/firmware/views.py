"""Storage and views of it: a view names the element of a buffer that stands at each index, by an offset and strides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(eq=False)
class Buffer:
    """Numbers in a row.

    Attributes
    ----------
    name
        Name in the C code of what is a port, a state or a constant; a note for people elsewhere.
    size
        Count of its elements.
    dtype
        Element type.
    role
        ``input``, ``output``, ``state``, ``next``, ``constant`` or ``scratch``.
    constant
        Its numbers, of a constant.
    home
        Buffer within which it lies, and the place of its first element there; None where it stands by itself.
    over
        State whose place it takes once that is read for the last time.
    """

    name: str
    size: int
    dtype: np.dtype[Any]
    role: str
    constant: NDArray[Any] | None = None
    home: tuple[Buffer, int] | None = field(default=None, repr=False)
    over: Buffer | None = field(default=None, repr=False)

    @property
    def base(self) -> Buffer:
        """The buffer that its elements lie in."""
        return self if self.home is None else self.home[0].base

    @property
    def start(self) -> int:
        """Place of its first element in its base."""
        return 0 if self.home is None else self.home[1] + self.home[0].start


@dataclass(frozen=True, eq=False)
class View:
    """Elements of a buffer in the order of an index.

    Attributes
    ----------
    buffer
        Storage.
    shape
        Sizes of the index.
    strides
        Distance of neighbours along each axis; 0 along an axis that repeats.
    offset
        Place of the first element.
    tables
        By axis, the positions that stand in the place of 0, 1, 2, ... along it.
    """

    buffer: Buffer
    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0
    tables: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def whole(cls, buffer: Buffer, shape: Shape) -> View:
        """Return all of a buffer, in its order."""
        return cls(buffer, shape, dense(shape))

    @property
    def count(self) -> int:
        """Number of elements of the index."""
        return math.prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """True if the elements stand in the buffer in the order of the index, without gaps."""
        wanted = dense(self.shape)
        pairs = zip(self.shape, self.strides, wanted, strict=True)
        return not self.tables and all(size == 1 or stride == due for size, stride, due in pairs)

    def same_elements(self, other: View) -> bool:
        """Return True if both name the same elements in the same order, whatever axes of size one they have."""
        return self.buffer is other.buffer and self.squeezed()._key == other.squeezed()._key

    @property
    def span(self) -> tuple[Buffer, int, int]:
        """The base of the buffer, and the first and the last place there that the view can touch."""
        low = high = self.offset + self.buffer.start
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            table = self.tables.get(axis, (0, size - 1))
            ends = (min(table) * stride, max(table) * stride)
            low, high = low + min(ends), high + max(ends)
        return self.buffer.base, low, high

    @property
    def _key(self) -> object:
        return self.shape, self.strides, self.offset, tuple(sorted(self.tables.items()))

    def squeezed(self) -> View:
        """Return the view without its axes of size one."""
        kept = [axis for axis, size in enumerate(self.shape) if size != 1]
        offset = self.offset + sum(table[0] * self.strides[axis] for axis, table in self.tables.items() if self.shape[axis] == 1)
        tables = {kept.index(axis): table for axis, table in self.tables.items() if axis in kept}
        return View(self.buffer, self._at(self.shape, kept), self._at(self.strides, kept), offset, tables)

    def transposed(self, order: Sequence[int]) -> View:
        """Return the view with its axes in another order."""
        tables = {order.index(axis): table for axis, table in self.tables.items()}
        return replace(self, shape=self._at(self.shape, order), strides=self._at(self.strides, order), tables=tables)

    def sliced(self, axis: int, start: int, step: int, count: int) -> View:
        """Return every ``step``-th element along an axis, from one on."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = count
        if axis in self.tables:
            kept = tuple(self.tables[axis][start + step * k] for k in range(count))
            return replace(self, shape=tuple(shape), tables={**self.tables, axis: kept})
        strides[axis] *= step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=self.offset + start * self.strides[axis])

    def gathered(self, axis: int, places: Sequence[int]) -> View:
        """Return the elements at given places along an axis."""
        old = self.tables.get(axis)
        table = tuple(int(place) if old is None else old[place] for place in places)
        shape = (*self.shape[:axis], len(table), *self.shape[axis + 1 :])
        return replace(self, shape=shape, tables={**self.tables, axis: table})

    def broadcast(self, shape: Shape) -> View:
        """Return the view repeated to a shape by the rules of ONNX."""
        new = len(shape) - len(self.shape)
        strides = [0] * new + [0 if size == 1 else stride for size, stride in zip(self.shape, self.strides, strict=True)]
        offset = self.offset + sum(table[0] * self.strides[axis] for axis, table in self.tables.items() if self.shape[axis] == 1)
        tables = {axis + new: table for axis, table in self.tables.items() if self.shape[axis] != 1}
        return View(self.buffer, shape, tuple(strides), offset, tables)

    def reshaped(self, shape: Shape) -> View | None:
        """Return the view with other axes over the same order of elements; None if strides cannot express it."""
        if math.prod(shape) == 0 or self.count != math.prod(shape):
            return None
        source = self.squeezed()
        if source.shape == tuple(size for size in shape if size != 1):
            kept = [axis for axis, size in enumerate(shape) if size != 1]
            strides = [0] * len(shape)
            for place, axis in enumerate(kept):
                strides[axis] = source.strides[place]
            tables = {kept[axis]: table for axis, table in source.tables.items()}
            return View(self.buffer, shape, tuple(strides), source.offset, tables)
        if source.tables:
            return None
        regrouped = _regrouped(source.shape, source.strides, shape)
        return None if regrouped is None else View(self.buffer, shape, regrouped, source.offset)

    @staticmethod
    def _at(values: Sequence[int], places: Sequence[int]) -> tuple[int, ...]:
        return tuple(values[place] for place in places)


def dense(shape: Shape) -> tuple[int, ...]:
    """Return the strides of a row-major array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _regrouped(old: Shape, strides: tuple[int, ...], new: Shape) -> tuple[int, ...] | None:
    """Return the strides of other axes over the same elements: axes are cut, or joined where no gap lies between them."""
    found, axis, left = [0] * len(new), len(old) - 1, 1
    stride = 0
    for place in range(len(new) - 1, -1, -1):
        size = new[place]
        if size == 1:
            continue
        if left == 1:
            left, stride = old[axis], strides[axis]
            axis -= 1
        while size > left:
            # The next axis must go on where this one ends.
            if axis < 0 or strides[axis] != stride * left:
                return None
            left *= old[axis]
            axis -= 1
        if left % size:
            return None
        found[place] = stride
        stride, left = stride * size, left // size
    return tuple(found)
