"""Store the poles of a bank once: a conjugate pair has its real part twice in a, and its imaginary part with both signs in b.

Pairs of neighbours with b = 0 are two real poles; a mark says which are which.  Nodes that no input reaches write both constants
out again, when the graph is loaded.

Ensures
    the same values to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssm2edge.export.passes.store_integers import SMALLEST, numbers_of, stored
from ssm2edge.lowering.building import Builder

POLES, PAIRED = ".poles", ".paired"
"""Endings of the names of what is stored, behind that of a: two numbers for each two states, and which are pairs."""


def store_pairs(graph: ir.Graph) -> None:
    """Rewrite the constants of a graph in place."""
    op = Builder()
    for a, b in list(_matching(graph)):
        real, imaginary = numbers_of(a), numbers_of(b)
        assert real is not None
        assert imaginary is not None
        paired = imaginary[:, 1::2] != 0
        numbers = np.stack((real[:, 0::2], np.where(paired, imaginary[:, 1::2], real[:, 1::2])), axis=-1)
        poles = stored(graph, f"{a.name}{POLES}", numbers)
        mark = stored(graph, f"{a.name}{PAIRED}", paired[..., None])
        signed = op.Mul(op.Gather(poles, op.integers(1, 1), axis=2), op.numbers(-1.0, 1.0))
        both = op.Gather(poles, op.integers(0, 0), axis=2)
        for value, made in ((a, op.Where(mark, both, poles)), (b, op.Where(mark, signed, op.numbers(0.0)))):
            whole = op.Reshape(made, op.integers(*real.shape))
            kept = str(value.name)
            del graph.initializers[kept]
            value.name, whole.name = None, kept
            value.replace_all_uses_with(whole)
    if op.nodes:
        graph.insert_before(graph[0], op.nodes)


def _matching(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Yield the constants a and b of banks; each is in one pair."""
    found = [(value, numbers) for value in graph.initializers.values() if (numbers := numbers_of(value)) is not None]
    matrices = [(value, numbers) for value, numbers in found if numbers.ndim == 2 and numbers.shape[1] % 2 == 0]
    taken: set[ir.Value] = set()
    for b, imaginary in matrices:
        if b in taken or not imaginary.any() or imaginary.size < SMALLEST or not _opposite(imaginary):
            continue
        for a, real in matrices:
            if a not in taken and a is not b and real.shape == imaginary.shape and _same(real, imaginary[:, 1::2] != 0):
                taken |= {a, b}
                yield a, b
                break


def _opposite(numbers: NDArray[np.float32]) -> bool:
    return bool((numbers[:, 0::2] == -numbers[:, 1::2]).all())


def _same(numbers: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
    return bool((numbers[:, 0::2] == numbers[:, 1::2])[where].all())
