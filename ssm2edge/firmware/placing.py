"""Places of what a step writes: results go straight to where they are wanted, next states over the old ones.

Requires
    kernels in an order in which they can run.
Ensures
    the same numbers at every output and next state; kernels that overwrite a state run after all that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssm2edge.firmware.fusing import depends, in_order, predecessors
from ssm2edge.firmware.kernels import Kernel, Load, Loop, readers, writers
from ssm2edge.firmware.segments import overwrites_safely
from ssm2edge.firmware.views import Buffer


@dataclass(frozen=True)
class Placed:
    """Kernels with the places of next states.

    Attributes
    ----------
    kernels
        In an order in which they can run.
    orders
        Pairs of kernels of which the first reads what the second overwrites.
    copied
        Next states that are copied over the old ones at the end of a step, each with its state.
    """

    kernels: list[Kernel]
    orders: list[tuple[Kernel, Kernel]]
    copied: list[tuple[Buffer, Buffer]]


def without_copies(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Let what is only copied be computed in the copy's place."""
    found = list(kernels)
    for copy in kernels:
        if _is_plain_copy(copy):
            source, target = copy.reads[0], copy.writes[0]
            makers = writers(found).get(source.buffer, [])
            whole = source.contiguous and source.count == source.buffer.size
            if source.buffer.role == "scratch" and source.buffer.home is None and whole and target.contiguous and makers:
                source.buffer.home = (target.buffer, target.offset)
                found.remove(copy)
    return found


def place_states(kernels: Sequence[Kernel], pairs: Sequence[tuple[Buffer, Buffer]]) -> Placed:
    """Let next states lie where the states do, wherever the order of the kernels allows it.

    Parameters
    ----------
    kernels
        All kernels.
    pairs
        Every state with what it becomes.
    """
    found, orders, copied = list(kernels), list[tuple[Kernel, Kernel]](), list[tuple[Buffer, Buffer]]()
    for state, after in pairs:
        written, read = _by_base(writers(found)), _by_base(readers(found))
        makers = list(dict.fromkeys(written.get(after, [])))
        users = list(dict.fromkeys(read.get(state, [])))
        more = [(user, maker) for user in users for maker in makers if user is not maker]
        before = predecessors(found, orders)
        safe = all(_safe(maker, state, after) for maker in makers)
        # With several makers, each would have to know what the others still need.
        if len(makers) == 1 and safe and not any(depends(user, maker, before) for user, maker in more):
            after.over = state
            orders += more
        else:
            copied.append((state, after))
    return Placed(in_order(found, orders), orders, copied)


def _safe(maker: Kernel, state: Buffer, after: Buffer) -> bool:
    """Return True if a kernel may write the next state over the state."""
    if not any(view.buffer.base is state for view in maker.reads):
        return True
    return isinstance(maker, Loop) and overwrites_safely(maker, state, after)


def _by_base(found: dict[Buffer, list[Kernel]]) -> dict[Buffer, list[Kernel]]:
    joined: dict[Buffer, list[Kernel]] = {}
    for buffer, kernels in found.items():
        joined.setdefault(buffer.base, []).extend(kernels)
    return joined


def _is_plain_copy(kernel: Kernel) -> bool:
    if not isinstance(kernel, Loop) or len(kernel.values) != 1 or len(kernel.stores) != 1:
        return False
    return isinstance(kernel.values[0], Load) and not kernel.stores[0].join
