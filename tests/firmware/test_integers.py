"""Weights in flash as integers: the C form computes what onnxruntime does with fewer bytes of constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from ssm2edge.firmware.sources import bytes_of
from ssm2edge.quantisation import steps_of
from tests.streaming_graphs import Array, both, needs_compiler, save_stream, step_of

RANDOM = np.random.default_rng(4)
INNER, COLUMNS = 64, 50
KINDS = {8: ("product8", "int8"), 4: ("product4", "uint8")}


def rounded(bits: int, columns: int = COLUMNS) -> Array:
    """A matrix ``(INNER, columns)`` whose columns are integers times steps."""
    matrix = torch.from_numpy(RANDOM.standard_normal((columns, INNER)))
    return steps_of(matrix, bits).nearest(matrix).float().numpy().T.copy()


def stream_of(path: Path, weights: Array) -> Path:
    """A product, and one of transposed weights with a bias, of three rows at a time."""
    columns = weights.shape[1]
    made = [
        helper.make_node("Reshape", ["x", "three"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("Gemm", ["r", "turned", "bias"], ["g"], transB=1),
        helper.make_node("Reshape", ["g", "flat"], ["z"]),
    ]
    constants: dict[str, Array] = {
        "w": weights,
        "turned": weights.T.copy(),
        "bias": RANDOM.standard_normal(columns).astype(np.float32),
        "three": np.array([-1, 3, INNER]),
        "rows": np.array([-1, INNER]),
        "flat": np.array([-1, 3, columns]),
    }
    return save_stream(path, made, {"x": (1, 3 * INNER)}, {"y": (3, columns), "z": (3, columns)}, constants=constants)


@needs_compiler
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_in_flash_give_what_onnxruntime_gives(tmp_path: Path, bits: int) -> None:
    path = stream_of(tmp_path / "stream.onnx", rounded(bits))
    assert {name for kernel in step_of(path).kernels for name in kernel.helpers} == {KINDS[bits][0]}
    sequence = {"x": RANDOM.standard_normal((12, 3 * INNER)).astype(np.float32)}
    (found,), (expected,) = both(path, [sequence], tmp_path)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5 * float(np.abs(values).max()))


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_take_their_bytes_of_flash(tmp_path: Path, bits: int) -> None:
    step = step_of(stream_of(tmp_path / "stream.onnx", rounded(bits)))
    integers = [buffer for buffer in step.constants if buffer.dtype.name == KINDS[bits][1]]
    # Both products share the numbers.
    assert bytes_of(integers) == INNER * COLUMNS * bits // 8
    others = bytes_of(step.constants) - bytes_of(integers)
    assert others == 4 * COLUMNS * (1 if bits == 8 else INNER // 32) + 4 * COLUMNS


@needs_compiler
def test_an_odd_number_of_columns_leaves_one_in_float32(tmp_path: Path) -> None:
    """Two integers of 4 bits share a byte; a recogniser of 35 words has as many columns."""
    path, columns = stream_of(tmp_path / "stream.onnx", rounded(4, 35)), 35
    step = step_of(path)
    assert {name for kernel in step.kernels for name in kernel.helpers} == {"product4", "product"}
    assert bytes_of([buffer for buffer in step.constants if buffer.dtype.name == "uint8"]) == INNER * (columns - 1) // 2
    sequence = {"x": RANDOM.standard_normal((12, 3 * INNER)).astype(np.float32)}
    (found,), (expected,) = both(path, [sequence], tmp_path)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5 * float(np.abs(values).max()))


@needs_compiler
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_of_a_table_are_read_from_integers(tmp_path: Path, bits: int) -> None:
    """A table ``(COLUMNS, INNER)``, and places in and outside of it."""
    table = rounded(bits).T.copy()
    made = [helper.make_node("Cast", ["x"], ["p"], to=TensorProto.INT64), helper.make_node("Gather", ["table", "p"], ["y"])]
    path = save_stream(tmp_path / "stream.onnx", made, {"x": (1, 3)}, {"y": (1, 3, INNER)}, constants={"table": table})
    integers = [buffer for buffer in step_of(path).constants if buffer.dtype.name == KINDS[bits][1]]
    assert bytes_of(integers) == INNER * COLUMNS * bits // 8
    assert all(buffer.size < INNER * COLUMNS for buffer in step_of(path).constants if buffer.dtype.name == "float32")
    sequence = {"x": RANDOM.integers(-COLUMNS, COLUMNS, (12, 3)).astype(np.float32)}
    (found,), (expected,) = both(path, [sequence], tmp_path)
    assert np.array_equal(found["y"], expected["y"])


@needs_compiler
def test_a_table_of_an_odd_number_of_integers_is_read_from_pairs(tmp_path: Path) -> None:
    """A row of 39 numbers has three steps."""
    matrix = torch.from_numpy(RANDOM.standard_normal((5, 39)))
    table = steps_of(matrix, 4).nearest(matrix).float().numpy()
    made = [helper.make_node("Cast", ["x"], ["p"], to=TensorProto.INT64), helper.make_node("Gather", ["table", "p"], ["y"])]
    path = save_stream(tmp_path / "stream.onnx", made, {"x": (1, 3)}, {"y": (1, 3, 39)}, constants={"table": table})
    assert bytes_of([buffer for buffer in step_of(path).constants if buffer.dtype.name == "uint8"]) == (5 * 39 + 1) // 2
    sequence = {"x": RANDOM.integers(-5, 5, (12, 3)).astype(np.float32)}
    (found,), (expected,) = both(path, [sequence], tmp_path)
    assert np.array_equal(found["y"], expected["y"])


@needs_compiler
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_over_time_read_integers(tmp_path: Path, bits: int, groups: int) -> None:
    weights = rounded(bits).T.reshape(COLUMNS, 8, 8)
    constants: dict[str, Array] = {"w": weights, "bias": RANDOM.standard_normal(COLUMNS).astype(np.float32)}
    constants |= {"channels": np.array([-1, 8 * groups, 10]), "flat": np.array([-1, 1, COLUMNS * 3])}
    made = [
        helper.make_node("Reshape", ["x", "channels"], ["c"]),
        helper.make_node("Conv", ["c", "w", "bias"], ["f"], group=groups),
        helper.make_node("Reshape", ["f", "flat"], ["y"]),
    ]
    path = save_stream(tmp_path / "stream.onnx", made, {"x": (1, 80 * groups)}, {"y": (1, COLUMNS * 3)}, constants=constants)
    integers = [buffer for buffer in step_of(path).constants if buffer.dtype.name == KINDS[bits][1]]
    assert bytes_of(integers) == INNER * COLUMNS * bits // 8
    assert all(buffer.size < INNER * COLUMNS for buffer in step_of(path).constants if buffer.dtype.name == "float32")
    sequence = {"x": RANDOM.standard_normal((12, 80 * groups)).astype(np.float32)}
    (found,), (expected,) = both(path, [sequence], tmp_path)
    np.testing.assert_allclose(found["y"], expected["y"], atol=1e-5 * float(np.abs(expected["y"]).max()))


def test_trained_weights_stay_float32(tmp_path: Path) -> None:
    step = step_of(stream_of(tmp_path / "stream.onnx", RANDOM.standard_normal((INNER, COLUMNS)).astype(np.float32)))
    assert {buffer.dtype.name for buffer in step.constants} == {"float32"}
