"""An answer is finite or an error, and the error leaves the stream as it was."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssm2edge.runtime import InputError, Model, Stream
from tests.first_order import filtered, offline_graph, stream_graph

GOOD = np.random.default_rng(3).standard_normal((2, 24, 1)).astype(np.float32)
HUGE = np.full((2, 24, 1), 3e38, np.float32)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("graphs")
    for mean in (True, False):
        onnx.save(offline_graph(mean), folder / f"{mean}.onnx")
        for block in (1, 4):
            onnx.save(stream_graph(mean, block), folder / f"{mean}-{block}.onnx")
    return folder


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("taken", [0, 4, 7])
@pytest.mark.parametrize("good", [0, 3, 9])
def test_a_push_without_a_finite_answer_is_refused_and_changes_nothing(
    graphs: Path, mean: bool, block: int, taken: int, good: int
) -> None:
    # The good samples in front fill whole blocks, which are undone, too.
    samples = np.concatenate([GOOD[:, :good], HUGE], axis=1)
    with Stream(graphs / f"{mean}-{block}.onnx", 2) as stream:
        stream.push(GOOD[:, :taken])
        before = stream.snapshot()
        for _ in range(3):
            with pytest.raises(InputError, match=r"3e\+38"), warnings.catch_warnings(action="error"):
                stream.push(samples)
            assert stream.snapshot() == before
        parts = [stream.push(GOOD[:, taken:])["output"], stream.flush()["output"]]
    if mean:
        np.testing.assert_allclose(parts[-1], filtered(GOOD[:, : 24 // block * block], mean), atol=2e-6)
    else:
        whole = filtered(GOOD, mean)[:, taken // block * block :]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=2e-6)


@pytest.mark.parametrize("mean", [True, False])
def test_single_samples_that_overflow_leave_the_states_and_the_answers_before(graphs: Path, mean: bool) -> None:
    with Stream(graphs / f"{mean}-1.onnx", 2) as stream:
        stream.push(GOOD[:, :1])
        stream.place({"state.filter": np.full((2, 3), 3.4e38, np.float32)})
        before = stream.snapshot()
        with pytest.raises(InputError, match="NaN or infinite"), warnings.catch_warnings(action="error"):
            stream.push(HUGE[:, :1])
        assert stream.snapshot() == before


@pytest.mark.parametrize("mean", [True, False])
def test_the_end_of_a_sequence_without_a_finite_answer_is_refused(graphs: Path, mean: bool) -> None:
    with Stream(graphs / f"{mean}-4.onnx", 2) as stream:
        stream.push(HUGE[:, :3])
        stream.place({name: np.full_like(value, 3.4e38) for name, value in stream.states.items() if name == "state.filter"})
        before = stream.snapshot()
        if mean:
            # Zeros behind the end would enter a running answer: no block is run.
            assert stream.flush() == {}
            return
        with pytest.raises(InputError, match="NaN or infinite"):
            stream.flush()
        assert stream.snapshot() == before


@pytest.mark.parametrize("mean", [True, False])
def test_whole_sequences_without_a_finite_answer_are_refused(graphs: Path, mean: bool) -> None:
    with Model(graphs / f"{mean}.onnx") as model:
        with pytest.raises(InputError, match=r"output becomes NaN or infinite.*3e\+38"), warnings.catch_warnings(action="error"):
            model.run(HUGE)
        np.testing.assert_allclose(model.run(GOOD)["output"], filtered(GOOD, mean), atol=2e-6)
    with Model(graphs / f"{mean}.onnx", checks=False) as model:
        assert not np.isfinite(model.run(HUGE)["output"]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_not_placed(graphs: Path, wrong: float) -> None:
    with Stream(graphs / "True-4.onnx", 2) as stream:
        stream.push(GOOD[:, :9])
        before = stream.snapshot()
        values = stream.states
        values["state.count"][1, 0] = wrong
        with pytest.raises(InputError, match=r"state\.count\[1, 0\]"):
            stream.place(values)
        assert stream.snapshot() == before
