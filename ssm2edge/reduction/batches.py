"""Batches of any shape and size as runs over channels in chunks of bounded memory."""

from __future__ import annotations

import math

import torch

from ssm2edge.reduction.contract import COLUMNS, Method, Reduction
from ssm2edge.systems.system import System, concatenate
from ssm2edge.workers import equal_spans, workers

# About 20 complex n x (n + r) temporaries of a chunk live at the same time at the peak of any method.
CHUNK_BYTES = 400 * 2**20
TEMPORARIES = 20
# A chunk has at most so many systems: threads are busy to the end.
LARGEST = 128
# Chunks are not cut smaller than this for the sake of several threads: four of 32 systems take twice the time of one of 128.
SMALL = 128


def chunk_length(system: System, order: int) -> int:
    """Return how many systems may be reduced at once."""
    width = system.order + order
    maps = 1 + (0 if system.M is None else system.outputs)
    return max(1, CHUNK_BYTES // (TEMPORARIES * 16 * width * width * maps))


def in_chunks(method: Method, system: System, order: int, horizon: int | None) -> Reduction:
    """Apply a method to a batch of any shape, chunk by chunk; the number of threads does not change the chunks."""
    flat = system.reshaped(math.prod(system.batch_shape))
    spans = equal_spans(flat.poles.shape[0], min(LARGEST, chunk_length(flat, order)), SMALL)

    def reduce_chunk(chunk: System) -> Reduction:
        with torch.no_grad():
            return method(chunk, order, horizon)

    with workers() as pool:
        results = list(pool.map(reduce_chunk, [flat[span] for span in spans]))

    columns = (torch.cat([getattr(result, name) for result in results]).reshape(system.batch_shape) for name in COLUMNS)
    reduced = concatenate([result.system for result in results]).reshaped(*system.batch_shape)
    return Reduction(reduced, results[0].method, order, horizon, *columns)
