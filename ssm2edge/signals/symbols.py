"""Random symbols of a vocabulary, with the repetition that texts and other sequences of symbols have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform

WORDS = 64
"""Words of which a sequence is made."""
LONGEST_WORD = 12
LONGEST_HOLD = 16.0
FLATTEST, STEEPEST = 0.5, 1.5
"""Exponents of Zipf's law; that of words in texts is near 1."""

Kind = Callable[[np.random.Generator, int, int], Array]
"""Returns one sequence of ``steps`` numbers of symbols out of ``size``."""


def even(generator: np.random.Generator, steps: int, size: int) -> Array:
    """Return symbols that are all equally frequent."""
    return generator.integers(0, size, steps)


def frequent(generator: np.random.Generator, steps: int, size: int) -> Array:
    """Return symbols of which few are frequent: by Zipf's law, in an order of the sequence's own."""
    return generator.choice(size, steps, p=_zipf(generator, size))


def held(generator: np.random.Generator, steps: int, size: int) -> Array:
    """Return frequent and rare symbols that are held for a random number of steps."""
    drawn = frequent(generator, steps, size)
    changes = generator.random(steps) * float(log_uniform(generator, (1,), 1.0, LONGEST_HOLD)[0]) < 1
    kept: Array = drawn[np.maximum.accumulate(np.where(changes, np.arange(steps), 0))]
    return kept


def words(generator: np.random.Generator, steps: int, size: int) -> Array:
    """Return words, of which few are frequent, of symbols, of which few are frequent."""
    chances = _zipf(generator, size)
    known = [generator.choice(size, generator.integers(1, LONGEST_WORD), p=chances) for _ in range(WORDS)]
    chosen = generator.choice(WORDS, steps, p=_zipf(generator, WORDS))
    sequence: Array = np.concatenate([known[index] for index in chosen])[:steps]
    return sequence


SYMBOLS: Mapping[str, Kind] = {"even": even, "frequent": frequent, "held": held, "words": words}
"""Kinds of sequences of symbols by name."""

CHOSEN = tuple(SYMBOLS)
"""Kinds on which builds calibrate, in equal parts."""


def symbols(generator: np.random.Generator, count: int, steps: int, vocabulary: Array, names: Sequence[str] = CHOSEN) -> Array:
    """Return sequences ``(count, steps)`` of several kinds in turn, of the values in the vocabulary."""
    kinds = [SYMBOLS[names[row % len(names)]] for row in range(count)]
    drawn = [vocabulary[kind(generator, steps, len(vocabulary))] for kind in kinds]
    return np.stack(drawn) if drawn else np.zeros((0, steps), vocabulary.dtype)


def _zipf(generator: np.random.Generator, size: int) -> Array:
    """Return chances that fall by Zipf's law, in random order."""
    chances = np.arange(1, size + 1) ** -generator.uniform(FLATTEST, STEEPEST)
    chances = chances[generator.permutation(size)]
    shares: Array = chances / chances.sum()
    return shares
