"""Loops as nests of plain counters: tables of places become strides wherever they are regular.

The exchange of the two states of every pair is regular: an axis of n becomes one of n / 2 pairs and one of two, along which the
exchanged view runs backwards.  That short axis is unrolled, so that both states of a pair are known before either is overwritten.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ssm2edge.firmware.kernels import Loop
from ssm2edge.firmware.views import Buffer, View

MOST = 6
"""Segments of an axis up to which each is a loop of its own; beyond, a table in memory says the places."""


@dataclass(frozen=True)
class Nest:
    """Counters of a loop, or of a part of it.

    Attributes
    ----------
    shape
        Sizes of the counters, the outermost first.
    views
        Views of the loop's loads, then of its stores, over these counters.
    unrolled
        The counter that is written out; None without.
    """

    shape: tuple[int, ...]
    views: tuple[View, ...]
    unrolled: int | None = None


def nests(loop: Loop) -> list[Nest]:
    """Return the counters of a loop, part by part."""
    views = tuple(view.squeezed() for view in (*loop.reads, *loop.writes))
    found = [Nest(tuple(size for size in loop.shape if size != 1), views)]
    axis = 0
    while axis < max((len(nest.shape) for nest in found), default=0):
        found = [part for nest in found for part in _parts(nest, axis)]
        axis += 1
    return [_merged(nest) for nest in found]


def overwrites_safely(loop: Loop, state: Buffer, after: Buffer) -> bool:
    """Return True if a loop may store ``after`` over ``state``: every number is read before its place is written."""
    for nest in nests(loop):
        reads = [view for view in nest.views[: len(loop.reads)] if view.buffer.base is state]
        stores = [view for view in nest.views[len(loop.reads) :] if view.buffer.base is after]
        if len(stores) != 1 or stores[0].tables:
            return False
        outer = [axis for axis in range(len(nest.shape)) if axis != nest.unrolled]
        for view in reads:
            if view.tables or any(view.strides[axis] != stores[0].strides[axis] for axis in outer):
                return False
            if not _touched(view, nest) <= _touched(stores[0], nest):
                return False
    return True


def _touched(view: View, nest: Nest) -> set[int]:
    start = view.offset + view.buffer.start
    if nest.unrolled is None:
        return {start}
    return {start + turn * view.strides[nest.unrolled] for turn in range(nest.shape[nest.unrolled])}


def _parts(nest: Nest, axis: int) -> Iterator[Nest]:
    """Yield the nest with the tables of an axis as strides."""
    if axis >= len(nest.shape) or not any(axis in view.tables for view in nest.views):
        yield nest
        return
    size = nest.shape[axis]
    tables = [view.tables.get(axis, range(size)) for view in nest.views]
    if nest.unrolled is None and size % 2 == 0 and all(_is_half_turn(table, size) for table in tables):
        yield _cut(nest, axis, 0, size, halves=True)
        return
    runs, place = [], 0
    while place < size:
        length, paired = _run(tables, place, size)
        runs.append((place, length, paired and nest.unrolled is None))
        place += length
    if len(runs) > MOST:
        yield nest
        return
    for place, length, paired in runs:
        if paired:
            yield _cut(nest, axis, place, length, halves=False)
        else:
            yield _straight(nest, axis, place, length)


def _run(tables: Sequence[Sequence[int]], place: int, size: int) -> tuple[int, bool]:
    """Return the length of the longest regular run, and whether it is one of exchanged pairs."""
    straight = place + 1
    while straight < size and all(t[straight] - t[straight - 1] == t[place + 1] - t[place] for t in tables):
        straight += 1
    paired = place
    while paired + 1 < size and all(_pair(table, place, paired) for table in tables):
        paired += 2
    swapped = any(table[place + 1] < table[place] for table in tables) if paired > place else False
    return (paired - place, True) if swapped and paired >= straight else (straight - place, False)


def _pair(table: Sequence[int], first: int, place: int) -> bool:
    """Return True if two neighbours go on as those at the start of the run: forwards, or exchanged."""
    step = table[first + 1] - table[first]
    low = table[first] + (place - first)
    return abs(step) == 1 and table[place] == low and table[place + 1] == low + step


def _is_half_turn(table: Sequence[int], size: int) -> bool:
    half = size // 2
    turned = (*range(half, size), *range(half))
    return tuple(table) in (tuple(range(size)), turned) and size > 2


def _straight(nest: Nest, axis: int, place: int, length: int) -> Nest:
    def cut(view: View) -> View:
        table = view.tables.get(axis)
        if table is None:
            return view.sliced(axis, place, 1, length)
        step = table[place + 1] - table[place] if length > 1 else 1
        plain = replace(view, tables={key: value for key, value in view.tables.items() if key != axis})
        return plain.sliced(axis, table[place], step, length)

    shape = (*nest.shape[:axis], length, *nest.shape[axis + 1 :])
    return replace(nest, shape=shape, views=tuple(cut(view) for view in nest.views))


def _cut(nest: Nest, axis: int, place: int, length: int, halves: bool) -> Nest:
    """Return part of a nest with an axis as two, of which the short one is unrolled."""
    half = length // 2

    def cut(view: View) -> View:
        table = view.tables.get(axis, range(nest.shape[axis]))
        stride = view.strides[axis]
        other = (table[place + half] if halves else table[place + 1]) - table[place]
        pair = (other * stride, stride) if halves else (2 * stride, other * stride)
        strides = (*view.strides[:axis], *pair, *view.strides[axis + 1 :])
        tables = {key + (key > axis): value for key, value in view.tables.items() if key != axis}
        return View(view.buffer, shape, strides, view.offset + table[place] * stride, tables)

    short = axis if halves else axis + 1
    shape = (*nest.shape[:axis], *((2, half) if halves else (half, 2)), *nest.shape[axis + 1 :])
    return Nest(shape, tuple(cut(view) for view in nest.views), short)


def _merged(nest: Nest) -> Nest:
    """Join neighbouring counters over which every view goes on without a gap, and drop those of one turn."""
    kept = [axis for axis, size in enumerate(nest.shape) if size != 1 or axis == nest.unrolled]
    shape = [nest.shape[axis] for axis in kept]
    strides = [[view.strides[axis] for axis in kept] for view in nest.views]
    tabled = [any(axis in view.tables for view in nest.views) for axis in kept]
    unrolled = None if nest.unrolled is None else kept.index(nest.unrolled)
    axis = len(shape) - 2
    while axis >= 0:
        plain = not tabled[axis] and not tabled[axis + 1] and unrolled not in (axis, axis + 1)
        if plain and all(own[axis] == own[axis + 1] * shape[axis + 1] for own in strides):
            shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
            for own in strides:
                del own[axis]
            del tabled[axis]
            kept.pop(axis)
            unrolled = None if unrolled is None else unrolled - (unrolled > axis)
        axis -= 1
    views = tuple(
        replace(
            view,
            shape=tuple(shape),
            strides=tuple(own),
            offset=view.offset + sum(t[0] * view.strides[a] for a, t in view.tables.items() if nest.shape[a] == 1),
            tables={kept.index(a): t for a, t in view.tables.items() if a in kept},
        )
        for view, own in zip(nest.views, strides, strict=True)
    )
    return Nest(tuple(shape), views, unrolled)


def combinations(nest: Nest) -> Iterator[dict[int, int]]:
    """Yield the values of the unrolled counter, each as a dictionary by counter."""
    if nest.unrolled is None:
        yield {}
        return
    yield from ({nest.unrolled: turn} for turn in itertools.chain(range(nest.shape[nest.unrolled])))
