"""Words as a logistic regression sees them: the weight of the word that each byte belongs to.

A linear model of words and pairs of words learns the sentiment of reviews in a minute.  What it found is a target at every byte,
where the label is one at every review: a deep model that reads bytes learns words from it many times faster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

WORD = re.compile(rb"[a-z0-9']+")
LEAST_WORD, LEAST_PAIR = 4, 15
PENALTY = 1e-5

Spotted = tuple[int, int, list[int]]
"""Start and end of a word, and its features."""


def words_of(text: bytes) -> list[tuple[int, int, bytes]]:
    """Return start, end and spelling of each word."""
    return [(found.start(), found.end(), found.group()) for found in WORD.finditer(text.lower())]


def features_of(text: bytes, numbers: dict[bytes, int]) -> list[Spotted]:
    """Return each word with the numbers of it and of its pair with the word before, as far as they are known."""
    spotted, before = [], b""
    for start, end, word in words_of(text):
        spotted.append((start, end, [numbers[key] for key in (word, before + b" " + word) if key in numbers]))
        before = word
    return spotted


def vocabulary(texts: Sequence[bytes]) -> dict[bytes, int]:
    """Return the words and pairs that enough texts have, numbered."""
    counts: Counter[bytes] = Counter()
    for text in texts:
        words = [word for _, _, word in words_of(text)]
        counts.update(set(words))
        counts.update({first + b" " + second for first, second in pairwise(words)})
    kept = sorted(key for key, count in counts.items() if count >= (LEAST_PAIR if b" " in key else LEAST_WORD))
    return {key: number for number, key in enumerate(kept)}


def learn(spotted: Sequence[Sequence[Spotted]], labels: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return the weights of a logistic regression on which features a text has, with a squared penalty."""
    sets = [sorted({number for _, _, numbers in text for number in numbers}) for text in spotted]
    ends = np.cumsum([0] + [len(found) for found in sets])
    columns = np.concatenate([np.asarray(found, np.int64) for found in sets])
    scales = np.repeat([1 / max(len(found), 1) ** 0.5 for found in sets], [len(found) for found in sets])
    matrix = scipy.sparse.csr_matrix((scales, columns, ends), shape=(len(sets), size))
    signs = 2.0 * labels - 1

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (matrix @ weights)
        gradient = matrix.T @ (-signs / (1 + np.exp(margins))) / len(signs)
        return float(np.logaddexp(0, -margins).mean() + PENALTY / 2 * weights @ weights), gradient + PENALTY * weights

    found = scipy.optimize.minimize(objective, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weights: NDArray[np.float64] = found.x
    return weights


def polarities(texts: Sequence[bytes], labels: NDArray[np.int64]) -> list[NDArray[np.float16]]:
    """Return for each text the polarity at each byte: of its word and pair, in standard deviations, zero between words."""
    numbers = vocabulary(texts)
    spotted = [features_of(text, numbers) for text in texts]
    weights = learn(spotted, labels, len(numbers))
    by_byte = []
    for text, words in zip(texts, spotted, strict=True):
        values = np.zeros(len(text))
        for start, end, found in words:
            values[start:end] = weights[found].sum()
        by_byte.append(values)
    deviation = float(np.concatenate(by_byte[:2000]).std()) or 1.0
    return [np.clip(values / deviation, -5, 5).astype(np.float16) for values in by_byte]
