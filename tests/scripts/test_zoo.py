"""Models as people write them: right, or refused with the reason; never wrong, and no crash."""

from __future__ import annotations

import pytest
from try_models import CASES, attempt

CHOSEN = list(CASES)[3::7]


def test_the_zoo_is_large() -> None:
    assert len(CASES) >= 60
    assert {name.partition(":")[0] for name in CASES} >= {"library", "head", "input", "norm", "front", "structure", "precision"}


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
@pytest.mark.parametrize("name", CHOSEN)
def test_a_part_of_the_zoo_becomes_what_its_users_expect(name: str) -> None:
    outcome = attempt(name, CASES[name])
    assert outcome.expected, outcome
