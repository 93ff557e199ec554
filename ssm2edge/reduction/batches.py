"""Batches of any shape and size as runs over channels in chunks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from ssm2edge.reduction.contract import COLUMNS, Method, Reduction
from ssm2edge.systems.system import System, concatenate

# About 20 complex n x (n + r) temporaries of a chunk live at the same time at the peak of any method.
CHUNK_BYTES = 400 * 2**20
TEMPORARIES = 20
# Chunks are not split for the sake of parallel work below this many systems.
SMALL = 32


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Run every operation on one thread: chunks run in parallel.

    The operations are small, and threads that meet after each of them mostly wait.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chunk_length(system: System, order: int) -> int:
    """Return how many systems may be reduced at once."""
    width = system.order + order
    maps = 1 + (0 if system.M is None else system.outputs)
    return max(1, CHUNK_BYTES // (TEMPORARIES * 16 * width * width * maps))


def in_chunks(method: Method, system: System, order: int, horizon: int | None) -> Reduction:
    """Apply a method to a batch of any shape, chunk by chunk."""
    flat = system.reshaped(math.prod(system.batch_shape))
    length = chunk_length(flat, order)
    count = flat.poles.shape[0]
    workers = torch.get_num_threads()
    # As many equal chunks as keep every worker busy, none larger than memory allows.
    pieces = max(math.ceil(count / length), min(workers, math.ceil(count / SMALL)))
    pieces = math.ceil(pieces / workers) * workers if pieces > 1 else 1
    length = math.ceil(count / pieces)
    chunks = [flat[i : i + length] for i in range(0, count, length)]

    def reduce_chunk(chunk: System) -> Reduction:
        # Gradient mode belongs to the thread.
        with torch.no_grad():
            return method(chunk, order, horizon)

    with one_thread_each(), ThreadPoolExecutor(min(workers, len(chunks))) as pool:
        results = list(pool.map(reduce_chunk, chunks))

    columns = (torch.cat([getattr(result, name) for result in results]).reshape(system.batch_shape) for name in COLUMNS)
    reduced = concatenate([result.system for result in results]).reshaped(*system.batch_shape)
    return Reduction(reduced, results[0].method, order, horizon, *columns)
