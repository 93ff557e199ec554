"""Batches of any shape and size as runs over channels in chunks of bounded memory."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ssm2edge.reduction.contract import Method, Reduction
from ssm2edge.systems.system import System

# About 20 complex n x (n + r) temporaries of a chunk live at the same time at the peak of any method.
CHUNK_BYTES = 512 * 2**20
TEMPORARIES = 20


def chunk_length(system: System, order: int) -> int:
    """Return how many systems may be reduced at once."""
    width = system.order + order
    maps = 1 + (0 if system.M is None else system.outputs)
    return max(1, CHUNK_BYTES // (TEMPORARIES * 16 * width * width * maps))


def flattened(system: System) -> System:
    """Return the systems with one batch axis."""
    count = math.prod(system.batch_shape)
    parts = {name: getattr(system, name) for name in ("poles", "B", "C", "D", "M")}
    rank = len(system.batch_shape)
    return System(**{name: None if x is None else x.reshape(count, *x.shape[rank:]) for name, x in parts.items()})


def in_chunks(method: Method, system: System, order: int, horizon: int | None) -> Reduction:
    """Apply a method to a batch of any shape, chunk by chunk."""
    flat = flattened(system)
    length = chunk_length(flat, order)
    count = flat.poles.shape[0]
    results = [method(flat[i : i + length], order, horizon) for i in range(0, count, length)]
    first = results[0]
    parts = {}
    for name in ("poles", "B", "C", "D", "M"):
        values = [getattr(result.system, name) for result in results]
        parts[name] = None if values[0] is None else torch.cat(values).reshape(*system.batch_shape, *values[0].shape[1:])
    fields = {}
    for name in ("error", "relative_error", "spectral_radius", "outcomes", "iterations"):
        fields[name] = torch.cat([getattr(result, name) for result in results]).reshape(system.batch_shape)
    return replace(first, system=System(**parts), **fields)
