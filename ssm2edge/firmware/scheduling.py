"""The order of kernels: of those that can run, the one after which the least memory is in use."""

from __future__ import annotations

from collections.abc import Sequence

from ssm2edge.firmware.fusing import predecessors
from ssm2edge.firmware.kernels import Kernel
from ssm2edge.firmware.views import Buffer


def schedule(kernels: Sequence[Kernel], orders: Sequence[tuple[Kernel, Kernel]]) -> list[Kernel]:
    """Return kernels in an order that needs little scratch memory.

    Parameters
    ----------
    kernels
        In any order in which they can run.
    orders
        Pairs of kernels of which the first must run before the second, for other reasons than what they read.
    """
    before = predecessors(kernels, orders)
    left: dict[Buffer, set[Kernel]] = {}
    for kernel in kernels:
        for view in kernel.reads:
            left.setdefault(view.buffer.base, set()).add(kernel)
    waiting, placed, live = list(kernels), list[Kernel](), set[Buffer]()
    done = set[Kernel]()
    while waiting:
        ready = [kernel for kernel in waiting if all(other in done for other in before[kernel])]
        chosen = min(ready, key=lambda kernel: _growth(kernel, left, live))
        waiting.remove(chosen)
        placed.append(chosen)
        done.add(chosen)
        live |= {view.buffer.base for view in chosen.writes}
        for view in chosen.reads:
            left[view.buffer.base].discard(chosen)
    return placed


def _growth(kernel: Kernel, left: dict[Buffer, set[Kernel]], live: set[Buffer]) -> int:
    """Return the elements that running a kernel takes, less those that it sets free."""
    made = {view.buffer.base for view in kernel.writes}
    freed = {view.buffer.base for view in kernel.reads}
    grown = sum(buffer.size for buffer in made if buffer.role == "scratch" and buffer not in live)
    return grown - sum(b.size for b in freed if b.role == "scratch" and left.get(b, set()) <= {kernel})
