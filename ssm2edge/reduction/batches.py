"""Batches of any shape and size as runs over channels in chunks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Method, Reduction
from ssm2edge.systems.system import System

# About 20 complex n x (n + r) temporaries of a chunk live at the same time at the peak of any method.
CHUNK_BYTES = 400 * 2**20
TEMPORARIES = 20
# Chunks are not split for the sake of parallel work below this many systems.
SMALL = 32


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every operation run on one thread: the chunks are what runs in parallel.

    The operations are small, and threads that meet after each of them mostly wait, for long where others share the cores.
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


def flattened(system: System) -> System:
    """Return the systems with one batch axis."""
    count = math.prod(system.batch_shape)
    rank = len(system.batch_shape)

    def flat(x: Tensor) -> Tensor:
        return x.reshape((count, *x.shape[rank:]))

    M = None if system.M is None else flat(system.M)
    return System(flat(system.poles), flat(system.B), flat(system.C), flat(system.D), M)


def in_chunks(method: Method, system: System, order: int, horizon: int | None) -> Reduction:
    """Apply a method to a batch of any shape, chunk by chunk."""
    flat = flattened(system)
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

    def joined(parts: list[Tensor]) -> Tensor:
        together = torch.cat(parts)
        return together.reshape((*system.batch_shape, *together.shape[1:]))

    quadratic = [result.system.M for result in results if result.system.M is not None]
    reduced = System(
        poles=joined([result.system.poles for result in results]),
        B=joined([result.system.B for result in results]),
        C=joined([result.system.C for result in results]),
        D=joined([result.system.D for result in results]),
        M=joined(quadratic) if quadratic else None,
    )
    return replace(
        results[0],
        system=reduced,
        error=joined([result.error for result in results]),
        relative_error=joined([result.relative_error for result in results]),
        spectral_radius=joined([result.spectral_radius for result in results]),
        outcomes=joined([result.outcomes for result in results]),
        iterations=joined([result.iterations for result in results]),
    )
