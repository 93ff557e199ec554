"""Work in pieces on several threads, with a result that does not depend on their number.

A product or a sum on several threads adds its numbers in another order than on one, and iterations carry the last bits on until
they show.  So every operation runs on one thread, pieces are cut by the size of the work alone, and as many of them run at once
as torch has threads.  Their results come back in the order of the pieces.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch
from torch import nn

Piece = TypeVar("Piece")
Result = TypeVar("Result")
Module = TypeVar("Module", bound=nn.Module)

AT_ONCE = 4
"""Pieces that small work is cut into.  It is no number of threads: it is the same on every machine."""

_allowed: ContextVar[int | None] = ContextVar("allowed", default=None)
"""Threads that pieces may take, inside :func:`one_thread_each`.  A new thread has no value: it runs pieces of its own in turn."""


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Run every operation of torch on one thread; the number of threads that pieces may take is the value."""
    before = torch.get_num_threads()
    allowed = _allowed.get() or before
    token = _allowed.set(allowed)
    torch.set_num_threads(1)
    try:
        yield allowed
    finally:
        torch.set_num_threads(before)
        _allowed.reset(token)


@contextmanager
def threads_for_users() -> Iterator[None]:
    """Give operations of torch the threads that pieces may take: for code of the user's that knows no pieces."""
    before = torch.get_num_threads()
    torch.set_num_threads(_allowed.get() or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Give freed memory back to the system at the end.

    The allocator of Linux keeps it for the thread that had it, and threads end with each stage: builds would add up.
    """
    try:
        yield
    finally:
        gc.collect()
        with suppress(OSError, TypeError, AttributeError):
            # Only glibc has it.
            ctypes.CDLL(None).malloc_trim(0)


def equal_spans(count: int, largest: int, smallest: int = 1) -> list[slice]:
    """Return the places of ``count`` things in spans of about equal length.

    Parameters
    ----------
    count
        Number of things.
    largest
        Things in a span, at most.
    smallest
        Spans of at least so many things are cut for the sake of several threads, up to ``AT_ONCE`` of them.
    """
    pieces = max(math.ceil(count / max(1, largest)), min(AT_ONCE, count // smallest), 1)
    length = max(1, math.ceil(count / pieces))
    return [slice(start, start + length) for start in range(0, count, length)] or [slice(0, 0)]


class Workers:
    """Threads that pieces of work run on.

    Parameters
    ----------
    pool
        None to run the pieces in turn, on the calling thread.
    count
        Pieces that run at once.
    """

    def __init__(self, pool: ThreadPoolExecutor | None, count: int) -> None:
        self._pool, self.count = pool, count

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """Yield the results of all pieces in their order; no more than ``count`` wait beside the one that is asked for.

        Gradient mode belongs to the thread: ``work`` says whether it wants gradients.
        """
        if self._pool is None:
            yield from map(work, pieces)
            return
        running: list[Future[Result]] = []
        try:
            for piece in pieces:
                running.append(self._pool.submit(work, piece))
                if len(running) > self.count:
                    yield running.pop(0).result()
            while running:
                yield running.pop(0).result()
        finally:
            for future in running:
                future.cancel()


@contextmanager
def workers() -> Iterator[Workers]:
    """Start the threads that torch is allowed; inside a piece there is only its own."""
    with one_thread_each() as count:
        if count == 1:
            yield Workers(None, 1)
            return
        with ThreadPoolExecutor(count) as pool:
            yield Workers(pool, count)


class Copies(Generic[Module]):
    """Copies of a module, of which each thread takes one for itself: a module may note things while it runs.

    Parameters
    ----------
    module
        Is the first copy.  The others have its parameters, and buffers and attributes of their own.
    count
        Number of copies.
    """

    def __init__(self, module: Module, count: int) -> None:
        self._free: SimpleQueue[Module] = SimpleQueue()
        self._free.put(module)
        for _ in range(count - 1):
            shared = {id(parameter): parameter for parameter in module.parameters()}
            self._free.put(copy.deepcopy(module, shared))

    @contextmanager
    def one(self) -> Iterator[Module]:
        """Take a copy, and give it back."""
        module = self._free.get()
        try:
            yield module
        finally:
            self._free.put(module)
