"""Ctrl-C: the first ends a command or a sweep, and the next ones do not end its cleaning up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interrupted_once(last: bool = True) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C alone.

    Parameters
    ----------
    last
        The process ignores later ones until it ends: a command.  Otherwise it has its own way again behind the block.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread has signals.
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        # Whoever started the command has its own way, such as none in the background of a shell.
        yield
        return
    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if not last or signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, before)
