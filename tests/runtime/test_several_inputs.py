"""Streams with several inputs and outputs: regrouped, flushed, restored within a block, refused where inputs do not fit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.runtime import InputError, Stream
from tests import several_inputs
from tests.several_inputs import Arrays, cut


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several_inputs.save(tmp_path_factory.mktemp("several") / "stream.onnx")


@pytest.fixture
def inputs() -> Arrays:
    return several_inputs.inputs()


@pytest.mark.parametrize("edges", [[0, 14], [0, 3, 14], [0, 1, 2, 3, 4, 5, 6, 7, 14], [0, 9, 9, 10, 14]])
def test_every_output_is_the_formulas(path: Path, inputs: Arrays, edges: list[int]) -> None:
    with Stream(path, batch=2) as stream:
        parts = [stream.push(cut(inputs, a, b)) for a, b in itertools.pairwise(edges)]
        assert stream.pending == 2
        parts.append(stream.flush())
    y = inputs["gain"][:, :, None] * inputs["u"] + inputs["tokens"].sum(axis=1)[:, :, None]  # type: ignore[operator]
    np.testing.assert_allclose(np.concatenate([part["y"] for part in parts], axis=1), y, rtol=1e-6)
    pairs = np.concatenate([part["pairs"] for part in parts], axis=1)
    np.testing.assert_allclose(pairs, y[:, 0::2] + y[:, 1::2], rtol=1e-5, atol=1e-5)
    # The running sum is over the three whole blocks.
    np.testing.assert_allclose(parts[-1]["total"], y[:, :12].sum(axis=1), rtol=1e-5)


def test_snapshot_within_a_block_holds_every_input(path: Path, inputs: Arrays) -> None:
    with Stream(path, batch=2) as stream, Stream(path, batch=2) as other:
        stream.push(cut(inputs, 0, 7))
        other.restore(stream.snapshot())
        expected, actual = stream.push(cut(inputs, 7, 14)), other.push(cut(inputs, 7, 14))
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)


def test_inputs_must_fit_each_other(path: Path, inputs: Arrays) -> None:
    with Stream(path, batch=2) as stream:
        with pytest.raises(InputError, match="different lengths"):
            stream.push(inputs | {"u": inputs["u"][:, :5]})
        with pytest.raises(InputError, match="batch sizes"):
            stream.push(inputs | {"gain": inputs["gain"][:1]})
        with pytest.raises(InputError, match="3 inputs"):
            stream.push(inputs["u"])
        with pytest.raises(InputError, match="tokens is int32"):
            stream.push(inputs | {"tokens": inputs["tokens"].astype(np.int32)})
        assert stream.pending == 0
