"""Whatever is pushed: any block, any number of samples, nothing, everything at once, and what is no sample at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ssm2edge.runtime import InputError, Model, Stream
from tests.first_order import filtered, offline_graph, stream_graph

SIZES = st.lists(st.one_of(st.just(0), st.integers(1, 40), st.integers(1000, 3000)), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("graphs")
    onnx.save(offline_graph(False), place / "offline.onnx")
    return place


@settings(max_examples=40, deadline=None)
@given(block=st.integers(1, 61), batch=st.integers(1, 4), sizes=SIZES)
def test_any_block_and_any_pushes_give_the_whole_sequence(folder: Path, block: int, batch: int, sizes: list[int]) -> None:
    path = folder / f"{block}.onnx"
    if not path.exists():
        onnx.save(stream_graph(False, block), path)
    length = sum(sizes)
    samples = np.random.default_rng(length).standard_normal((batch, length, 1)).astype(np.float32)
    with Stream(path, batch) as stream:
        parts, start = [], 0
        for size in sizes:
            parts.append(stream.push(samples[:, start : start + size])["output"])
            start += size
            assert sum(part.shape[1] for part in parts) == start // block * block
            assert stream.pending == start % block
        parts.append(stream.flush()["output"])
        assert (stream.pending, stream.push(samples[:, :0])["output"].shape) == (0, (batch, 0, 3))
    if length:
        with Model(folder / "offline.onnx") as model:
            expected = model.run(samples)["output"]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=2e-6)
        np.testing.assert_allclose(expected[:, :50], filtered(samples[:, :50], mean=False), atol=2e-6)


DTYPES = st.one_of(
    arrays.floating_dtypes(),
    arrays.integer_dtypes(),
    arrays.boolean_dtypes(),
    arrays.complex_number_dtypes(),
    st.just(np.dtype("U3")),
)
SHAPES = st.one_of(arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4), st.just((3, 2, 1)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_no_sample_is_refused_and_changes_nothing(folder: Path, data: Any) -> None:
    path = folder / "5.onnx"
    if not path.exists():
        onnx.save(stream_graph(False, 5), path)
    value = np.zeros(data.draw(SHAPES), data.draw(DTYPES))
    fits = value.dtype == np.dtype(np.float32) and value.ndim == 3 and value.shape[0] == 3 and value.shape[2] == 1
    first = np.ones((3, 7, 1), np.float32)
    with Stream(path, 3) as stream:
        stream.push(first)
        before = stream.snapshot()
        if fits:
            stream.push(value)
            return
        with pytest.raises(InputError) as caught:
            stream.push(value)
        assert "\n" not in str(caught.value)
        assert stream.snapshot() == before
