"""Loops over the same index become one, so that what one leaves to the next needs no storage.

Requires
    kernels in an order in which they can run; every buffer is written once, in whole or in parts.
Ensures
    the same numbers at every output and next state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssm2edge.firmware.kernels import Formula, Kernel, Load, Loop, Store, readers, writers
from ssm2edge.firmware.views import Buffer, View

LARGEST = 64
"""Values of a loop up to which it grows: more of them than registers is no gain."""


def fuse(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return kernels with loops joined, and without what nobody reads."""
    found = list(kernels)
    while (pair := _next_pair(found)) is not None:
        one, other = pair
        joined = _joined(one, other)
        found = in_order([joined if kernel is one else kernel for kernel in found if kernel is not other])
        found = without_unread(found)
    return without_unread(found)


def without_unread(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return kernels without stores that nobody reads, and without those that store nothing then."""
    found = list(kernels)
    while True:
        read = set(readers(found))
        for loop in found:
            if isinstance(loop, Loop):
                loop.stores = [store for store in loop.stores if store.view.buffer.role != "scratch" or store.view.buffer in read]
                _drop_unused(loop)
        kept = [kernel for kernel in found if any(v.buffer.role != "scratch" or v.buffer in read for v in kernel.writes)]
        if len(kept) == len(found):
            return kept
        found = kept


def in_order(kernels: Sequence[Kernel], more: Sequence[tuple[Kernel, Kernel]] = ()) -> list[Kernel]:
    """Return kernels in an order in which they can run, as near to the given one as may be.

    Parameters
    ----------
    kernels
        Any order.
    more
        Pairs of kernels of which the first must run before the second, for other reasons than what they read.
    """
    before = predecessors(kernels, more)
    placed: dict[Kernel, None] = {}
    stack = list(reversed(kernels))
    while stack:
        kernel = stack[-1]
        waiting = [other for other in before[kernel] if other not in placed]
        if kernel in placed or not waiting:
            placed[stack.pop()] = None
        else:
            stack += waiting
    return list(placed)


def predecessors(kernels: Sequence[Kernel], more: Sequence[tuple[Kernel, Kernel]] = ()) -> dict[Kernel, list[Kernel]]:
    """Return the kernels that each one waits for."""
    written: dict[Buffer, list[tuple[int, int, Kernel]]] = {}
    for kernel in kernels:
        for view in kernel.writes:
            base, low, high = view.span
            written.setdefault(base, []).append((low, high, kernel))
    found: dict[Kernel, dict[Kernel, None]] = {kernel: {} for kernel in kernels}
    for kernel in kernels:
        for view in kernel.reads:
            base, low, high = view.span
            makers = (m for first, last, m in written.get(base, ()) if first <= high and low <= last and m is not kernel)
            found[kernel].update(dict.fromkeys(makers))
    for first, second in more:
        found[second][first] = None
    return {kernel: list(others) for kernel, others in found.items()}


def depends(kernel: Kernel, other: Kernel, before: dict[Kernel, list[Kernel]]) -> bool:
    """Return True if a kernel waits for another, directly or not."""
    seen, stack = set[Kernel](), list(before[kernel])
    while stack:
        found = stack.pop()
        if found is other:
            return True
        if found not in seen:
            seen.add(found)
            stack += before[found]
    return False


def _next_pair(kernels: Sequence[Kernel]) -> tuple[Loop, Loop] | None:
    """Return two loops that can be one: the second reads what the first stores, at the same index."""
    before, written = predecessors(kernels), writers(kernels)
    for other in kernels:
        if isinstance(other, Loop):
            for one in _sources(other, written):
                between = (kernel for kernel in before[other] if kernel is not one)
                if not any(kernel is not one and depends(kernel, one, before) for kernel in between):
                    return one, other
    return None


def _sources(loop: Loop, written: dict[Buffer, list[Kernel]]) -> Iterator[Loop]:
    """Yield the loops over the same index whose results a loop reads only as they are stored."""
    for view in loop.reads:
        makers = written.get(view.buffer, [])
        if len(makers) != 1 or not isinstance(makers[0], Loop) or makers[0] is loop:
            continue
        maker = makers[0]
        if len(maker.values) + len(loop.values) > LARGEST or _squeezed(maker.shape) != _squeezed(loop.shape):
            continue
        shared = [read for read in loop.reads if any(store.view.buffer is read.buffer for store in maker.stores)]
        if all(any(_alike(store, read) for store in maker.stores) for read in shared):
            yield maker


def _alike(store: Store, read: View) -> bool:
    return not store.join and store.view.same_elements(read)


def _joined(one: Loop, other: Loop) -> Loop:
    """Return one loop that does what two do."""
    shape = _squeezed(other.shape)
    values: list[Load | Formula] = []
    stores: list[Store] = []
    for loop in (one, other):
        places = dict[int, int]()
        known = [store for store in stores if not store.join]
        for number, value in enumerate(loop.values):
            if isinstance(value, Load):
                made = next((store.value for store in known if store.view.same_elements(value.view)), None)
                if made is not None:
                    places[number] = made
                    continue
                value = Load(_fitted(value.view, loop))
            else:
                value = Formula(value.text, tuple(places[operand] for operand in value.operands), value.kind)
            places[number] = len(values)
            values.append(value)
        stores += [Store(_fitted(s.view, loop), places[s.value], s.join, s.first) for s in loop.stores]
    return Loop(shape, values, stores, [*one.titles, *other.titles], one.helpers | other.helpers)


def _fitted(view: View, loop: Loop) -> View:
    """Return a view of a loop's index without the axes of size one."""
    assert view.shape == loop.shape
    return view.squeezed()


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _drop_unused(loop: Loop) -> None:
    """Remove values that no store needs."""
    needed, stack = set[int](), [store.value for store in loop.stores]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            value = loop.values[number]
            stack += value.operands if isinstance(value, Formula) else ()
    if len(needed) == len(loop.values):
        return
    places = {number: place for place, number in enumerate(sorted(needed))}
    loop.values = [
        Formula(v.text, tuple(places[o] for o in v.operands), v.kind) if isinstance(v, Formula) else v
        for number in sorted(needed)
        for v in [loop.values[number]]
    ]
    loop.stores = [Store(s.view, places[s.value], s.join, s.first) for s in loop.stores]
