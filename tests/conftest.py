"""Fixtures for tests of every room: cheap exports and timings, and artifacts that are built once and read by many."""

from __future__ import annotations

import functools
import gc
import sys
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


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> Iterator[None]:
    """Make the exporter's table of ONNX operators once a session: it parses 500 functions anew for every graph."""
    if "ssm2edge.export" not in sys.modules:
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = functools.cache(ONNXRegistry.from_torchlib)

    def table(opset_version: int) -> ONNXRegistry:
        copy = ONNXRegistry()
        copy._opset_version = opset_version
        copy.functions = {target: list(forms) for target, forms in made(opset_version).functions.items()}
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(table))
        yield


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
