"""What operations cost in onnxruntime: the cost model that plans are chosen by.

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

SHORT_MULTIPLY_ADD = 0.0115
"""In products of which one side is no longer than a few vectors."""

SUMMED = 0.11
"""A product and its share of a sum by elementwise nodes."""

FILTERED = 0.035
"""A tap of a depthwise convolution at one sample."""

LOOP_STEP = 3500.0
"""A step of a Scan with the five small nodes of a bank's recurrence in it."""

DENSE_STEP, DENSE_NUMBER = 90.0, 0.065
"""A step of an RNN node, and each number of its matrix."""

LANES = 16
"""Numbers of a vector: products are computed in columns of so many."""


def in_lanes(columns: int) -> int:
    """Columns that a product is computed in."""
    return -(-columns // LANES) * LANES


def small_products(count: int, size: float) -> float:
    """``count`` products of one row with a matrix of ``size`` numbers each."""
    return count * max(PRODUCT, READ * size)
