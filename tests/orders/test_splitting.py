"""One budget of bytes: no split within it costs less, and the largest that fits is found."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ssm2edge.orders.splitting import Level, bytes_of, cost_of, largest_split, smallest, split

LEVELS = st.dictionaries(st.integers(1, 9), st.builds(Level, st.integers(1, 60), st.floats(0, 10)), min_size=1, max_size=4)
PARTS = st.dictionaries(st.sampled_from("abcd"), LEVELS, min_size=1, max_size=4)


def every(parts: dict[str, dict[int, Level]]) -> list[dict[str, int]]:
    return [dict(zip(parts, keys, strict=True)) for keys in itertools.product(*parts.values())]


@given(parts=PARTS, budget=st.integers(1, 250))
def test_no_split_within_the_budget_costs_less(parts: dict[str, dict[int, Level]], budget: int) -> None:
    allowed = [cost_of(parts, one) for one in every(parts) if bytes_of(parts, one) <= budget]
    found = split(parts, budget)
    if found is None:
        assert not allowed
    else:
        assert bytes_of(parts, found) <= budget
        assert cost_of(parts, found) <= min(allowed) * (1 + 1e-12)


@given(parts=PARTS, extra=st.integers(0, 200), nodes=st.integers(0, 90))
def test_what_fits_with_its_nodes_is_the_best_split_that_does(parts: dict[str, dict[int, Level]], extra: int, nodes: int) -> None:
    """Nodes take as many bytes in every graph."""
    limit = bytes_of(parts, smallest(parts)) + extra
    found = largest_split(parts, limit, lambda one: bytes_of(parts, one) + nodes)
    allowed = [one for one in every(parts) if bytes_of(parts, one) + nodes <= limit]
    if found is None:
        assert not allowed
    else:
        assert bytes_of(parts, found) + nodes <= limit
        assert cost_of(parts, found) <= min(cost_of(parts, one) for one in allowed) * (1 + 1e-12)


@given(parts=PARTS, extra=st.integers(0, 200), seed=st.integers(0, 9))
def test_graphs_are_never_larger_than_the_limit(parts: dict[str, dict[int, Level]], extra: int, seed: int) -> None:
    """Nodes take other bytes in every graph."""

    def measured(one: dict[str, int]) -> int:
        return bytes_of(parts, one) + (sum(one.values()) * 37 + seed) % 23

    limit = measured(smallest(parts)) + extra
    found = largest_split(parts, limit, measured)
    assert found is not None
    assert measured(found) <= limit
