"""The cost of operations in onnxruntime: the cost model that plans are chosen by.

Nanoseconds on one thread of a server core with AVX-512 at 4 GHz, measured with ``scripts/benchmark_latency.py`` and chains of
single nodes.  Only their ratios choose a plan, and they move together from processor to processor: what a node costs beside its
arithmetic, what a product of small matrices costs beside its own, and what a number costs that has to be read once.
"""

from __future__ import annotations

NODE = 200.0
"""A node on a few hundred numbers."""

NUMBER = 0.12
"""A number that an elementwise node or a copy reads and writes, in cache."""

PRODUCT = 80.0
"""Each matrix of a batched product, however small."""

READ = 0.055
"""A number of a matrix that is multiplied with a single row: it is read, and used once."""

MULTIPLY_ADD = 0.009
"""In products of matrices with many rows."""

SEQUENCE_MULTIPLY_ADD = 0.0136
"""In the products of a bank's chunks, whose columns come in whole lanes."""

SEQUENCE_READ = 0.124
"""A number of the matrices of a whole sequence: read once for it, from behind the second-level cache."""

SEQUENCE_SAMPLE, SEQUENCE_STATE, SEQUENCE = 0.57, 3.08, 38_000.0
"""A sample of a channel, a state of a chunk with its share of the recurrence, and a sequence by itself.

Fitted, with the two above, to banks of 64 and 128 channels, order 4 to 32, 28 to 16,384 samples, chunks of 8 to 120: what they
choose is 1.5 % slower than the best chunk on average, 8 % at most, where chunks of 44 throughout are up to 27 % slower.
"""

SUMMED = 0.11
"""A product and its share of a sum by elementwise nodes."""

FILTERED = 0.035
"""A tap of a depthwise convolution at one sample."""

WALK, WALK_STEP, WALK_NUMBER, GROUPING = 4_000.0, 600.0, 0.065, 1_500.0
"""A Scan that walks over chunks, a step of it, each number of its matrix, and the nodes that put chunks into groups."""

LANES = 16
"""Numbers of a vector: products are computed in columns of so many."""


def in_lanes(columns: int) -> int:
    """Return the columns that a product is computed in."""
    return -(-columns // LANES) * LANES


def small_products(count: int, size: float) -> float:
    """Return the cost of ``count`` products of one row with a matrix of ``size`` numbers each."""
    return count * max(PRODUCT, READ * size)


def products(rows: float, size: float) -> float:
    """Return the cost of the product of rows with a matrix of ``size`` numbers."""
    return size * max(READ, MULTIPLY_ADD * rows)
