"""Store the poles of banks once: a conjugate pair has its real part twice in a, and its imaginary part with both signs in b.

Poles of 16 bits a number are stored as such, those of all banks together.  Of others, a pair is two float32 numbers, and so are
two real poles that are neighbours; a mark says which are which.  Nodes that no input reaches write both constants out again, when
the graph is loaded.  Poles that take fewer bytes than these nodes stay as they are.

Ensures
    the same values to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from ssm2edge.export.passes.store_integers import SMALLEST, numbers_of, stored
from ssm2edge.lowering.building import Builder
from ssm2edge.systems.coarse_poles import UNIT, codes_of, coefficients_of

POLES, PAIRED = ".poles", ".paired"
"""Endings of the names of what is stored, behind that of a: two numbers for each two states, and which are pairs."""

CODE_NODES, BANK_NODES, PAIR_NODES = 1120, 160, 600
"""Bytes of the nodes of all codes, of those that each further bank adds, and of those of pairs."""

CODES = "poles.codes"
"""Name of the poles of 16 bits a number."""

Numbers = NDArray[np.float32]
Coarse = tuple[tuple[ir.Value, ir.Value], NDArray[np.int16]]
"""The constants a and b of a bank, and their codes."""


def store_poles(graph: ir.Graph) -> None:
    """Rewrite the constants of a graph in place."""
    op = Builder()
    coarse: list[Coarse] = []
    others: list[tuple[ir.Value, ir.Value]] = []
    for a, b in list(_matching(graph)):
        codes = _codes(*_numbers(a, b))
        if codes is None:
            others.append((a, b))
        else:
            coarse.append(((a, b), codes))
    # A number is four bytes in a and four in b, and two in the codes.
    if sum(6 * codes.size for _, codes in coarse) > CODE_NODES + BANK_NODES * (len(coarse) - 1):
        _store_codes(op, graph, coarse)
    else:
        others += [constants for constants, _ in coarse]
    for a, b in others:
        _store_pairs(op, graph, a, b)
    if op.nodes:
        graph.insert_before(graph[0], op.nodes)


def _numbers(a: ir.Value, b: ir.Value) -> tuple[Numbers, Numbers]:
    real, imaginary = numbers_of(a), numbers_of(b)
    assert real is not None
    assert imaginary is not None
    return real, imaginary


def _codes(real: Numbers, imaginary: Numbers) -> NDArray[np.int16] | None:
    """Return the codes of poles; None if these are no poles of 16 bits a number."""
    codes = codes_of(torch.from_numpy(real), torch.from_numpy(imaginary))
    a, b = coefficients_of(codes)
    if not np.array_equal(a.numpy(), real) or not np.array_equal(b.numpy(), imaginary):
        return None
    found: NDArray[np.int16] = codes.numpy()
    return found


def _store_codes(op: Builder, graph: ir.Graph, banks: list[Coarse]) -> None:
    """Store poles of 16 bits a number: the nodes are :func:`ssm2edge.systems.coarse_poles.coefficients_of`."""
    counts = [codes[..., 0].size for _, codes in banks]
    codes = stored(graph, CODES, np.concatenate([codes.reshape(-1, 2) for _, codes in banks]))
    one = op.numbers(1.0)
    share = op.Mul(op.as_float(codes), op.numbers(UNIT))
    square = op.Mul(share, share)
    decay, angle = op.several("Split", 2, share, axis=1, num_outputs=2)
    distance, tangent = op.several("Split", 2, square, axis=1, num_outputs=2)
    its_square = op.Mul(tangent, tangent)
    paired = op.Less(decay, op.numbers(0.0))
    radius = op.Div(op.Sub(one, distance), op.Add(one, its_square))
    along = op.Mul(op.Mul(radius, op.Sub(one, its_square)), op.Sign(angle))
    across = op.Mul(op.Mul(radius, tangent), op.numbers(2.0))
    real = op.Where(paired, along, op.Sub(one, op.Mul(op.numbers(2.0), square)))
    imaginary = op.Where(paired, op.Mul(across, op.numbers(-1.0, 1.0)), op.numbers(0.0))
    for place, whole in enumerate((real, imaginary)):
        parts = [whole] if len(banks) == 1 else op.several("Split", len(banks), whole, op.integers(*counts), axis=0)
        for (constants, bank), part in zip(banks, parts, strict=True):
            rows, pairs, _ = bank.shape
            _replace(graph, constants[place], op.Reshape(part, op.integers(rows, 2 * pairs)))


def _store_pairs(op: Builder, graph: ir.Graph, a: ir.Value, b: ir.Value) -> None:
    """Store poles as pairs, where they take fewer bytes so."""
    real, imaginary = _numbers(a, b)
    # A number is four bytes in a and four in b, and four and half a mark in the pairs.
    if 4 * real.size - real.size // 2 <= PAIR_NODES:
        return
    paired = imaginary[:, 1::2] != 0
    numbers = np.stack((real[:, 0::2], np.where(paired, imaginary[:, 1::2], real[:, 1::2])), axis=-1)
    poles = stored(graph, f"{a.name}{POLES}", numbers)
    mark = stored(graph, f"{a.name}{PAIRED}", paired[..., None])
    signed = op.Mul(op.Gather(poles, op.integers(1, 1), axis=2), op.numbers(-1.0, 1.0))
    both = op.Gather(poles, op.integers(0, 0), axis=2)
    for value, made in ((a, op.Where(mark, both, poles)), (b, op.Where(mark, signed, op.numbers(0.0)))):
        _replace(graph, value, op.Reshape(made, op.integers(*real.shape)))


def _replace(graph: ir.Graph, value: ir.Value, made: ir.Value) -> None:
    kept = str(value.name)
    del graph.initializers[kept]
    value.name, made.name = None, kept
    value.replace_all_uses_with(made)


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


def _opposite(numbers: Numbers) -> bool:
    return bool((numbers[:, 0::2] == -numbers[:, 1::2]).all())


def _same(numbers: Numbers, where: NDArray[np.bool_]) -> bool:
    return bool((numbers[:, 0::2] == numbers[:, 1::2])[where].all())
