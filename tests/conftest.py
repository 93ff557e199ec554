"""Fixtures for tests of every room: cheap exports and timings, and artifacts that are built once and read by many."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import pytest

from tests.command_line import call
from tests.model_directories import Built, model_directory

# A deadline is an assertion on time, which a loaded machine breaks.
hypothesis.settings.register_profile("any load", deadline=None)
hypothesis.settings.load_profile("any load")


def pytest_collection_finish() -> None:
    """Collect garbage seldom, and never again look at what the imports left: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@contextmanager
def few_turns() -> Iterator[None]:
    from ssm2edge.verification import sessions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "TURNS", sessions.FEWEST)
        yield


@pytest.fixture(scope="module")
def brief_latencies() -> Iterator[None]:
    """Time graphs in few turns: for modules that build artifacts and claim nothing about their latencies."""
    with few_turns():
        yield


@pytest.fixture(scope="session")
def tiny_build(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny model at full order, streaming in blocks of 4."""
    place = tmp_path_factory.mktemp("tiny")
    source = model_directory(place / "model")
    with few_turns():
        result = call("build", source, "--out", place / "deep" / "out", "--block", 4, "--json")
    assert result.exit_code == 0, result.output
    return Built(place, result)
