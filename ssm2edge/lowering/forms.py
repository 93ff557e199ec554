"""The kernel forms of blocks of several samples, with what they cost; a new form is one function and one line in its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ssm2edge.lowering import costs

Cost = tuple[float, float]
"""Multiply-adds and nanoseconds, a sample where nothing else is said."""

Groups = tuple[int, ...]
"""Chunks in a group, groups in a group of groups, and so on."""


def elementwise(channels: int, order: int, chunk: int) -> Cost:
    """Sums of elementwise products over the states of a bank, and a depthwise convolution."""
    sums = 2 * chunk * order * channels * costs.SUMMED
    filters = chunk * chunk * channels * costs.FILTERED
    passes = (7 * order + 4 * chunk) * channels * costs.NUMBER
    multiply_adds = channels * (chunk + 2.0 * order) + channels * 2.0 * order / chunk
    return multiply_adds, (20 * costs.NODE + sums + filters + passes) / chunk


def one_product(channels: int, order: int, chunk: int) -> Cost:
    """One product for each channel of a bank, of samples and states with a Toeplitz matrix."""
    passes = (4 * chunk + 7 * order) * channels * costs.NUMBER
    products = costs.small_products(channels, (chunk + order) ** 2)
    return channels * (chunk + order) ** 2 / chunk, (11 * costs.NODE + products + passes) / chunk


def chunk_product(inputs: int, order: int, chunk: int) -> Cost:
    """One product for the states of a chunk."""
    # The chunk is one row: its matrices are read once for all their samples.
    read = costs.READ * (chunk + 1.0) * order * (chunk * min(inputs, order) + order)
    return within_chunks(inputs, order, chunk), (14 * costs.NODE + read) / chunk


def unrolled(inputs: int, order: int, block: int, parts: int, groups: Groups) -> Cost:
    """Products for all chunks of a long block at once, and a walk over the chunks."""
    chunk, driven = block // parts, min(inputs, order)
    within = costs.products(parts, (chunk * driven * (chunk + 1.0) + order * chunk) * order)
    multiply_adds, nanoseconds = walk(order, groups, parts, known=True)
    return within_chunks(inputs, order, chunk) + multiply_adds / block, (14 * costs.NODE + within + nanoseconds) / block


def walk(order: int, groups: Groups, chunks: int, known: bool = False) -> Cost:
    """Return multiply-adds and nanoseconds of all steps over chunks, in groups, in groups of groups, and one after the other.

    A graph that knows their number takes a single one without a Scan.
    """
    matrix = float(order * order)
    if chunks == 1 and known:
        return matrix, costs.products(1, matrix)
    if not groups:
        return chunks * matrix, costs.WALK + chunks * (costs.WALK_STEP + costs.WALK_NUMBER * matrix)
    size, rows = groups[0], -(-chunks // groups[0])
    numbers = size * (size + 2.0) * matrix
    multiply_adds, nanoseconds = walk(order, groups[1:], rows, known)
    passes = 4 * costs.NUMBER * order * chunks
    return multiply_adds + rows * numbers, nanoseconds + costs.GROUPING + (
        costs.READ + costs.MULTIPLY_ADD * rows
    ) * numbers + passes


def within_chunks(inputs: int, order: int, chunk: int) -> float:
    """Multiply-adds a sample of the products with a chunk's two matrices."""
    return (chunk + 1.0) * order * min(inputs, order) + (chunk + 1.0) * order * order / chunk


BANK_FORMS: Mapping[str, Callable[[int, int, int], Cost]] = {"elementwise": elementwise, "chunked": one_product}
"""Of banks: costs by channels, order and chunk."""

MIMO_FORMS = ("chunked", "unrolled")
"""Of one system: one product, or many chunks."""
