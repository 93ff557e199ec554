"""Ctrl-C and SIGTERM: the first ends a command or a sweep, and the next ones do not end its cleaning up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

PLAIN = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals that end a process, and what a process does that has no way of its own with them."""


@contextlib.contextmanager
def interrupted_once(last: bool = True) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C alone, and in commands at SIGTERM.

    Parameters
    ----------
    last
        The process ignores later ones until it ends: a command.  Otherwise it has its own way again behind the block.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread has signals.
        yield
        return

    before = {number: signal.getsignal(number) for number in ((signal.SIGINT, signal.SIGTERM) if last else (signal.SIGINT,))}
    # Whoever started the command may have a way of its own, such as none in the background of a shell.
    taken = [number for number, handler in before.items() if handler == PLAIN[number]]

    def first(number: int, frame: FrameType | None) -> None:
        for one in taken:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in taken:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in taken:
            if not last or signal.getsignal(number) is first:
                signal.signal(number, before[number])
