"""Products of a row and a matrix in C, of every number of columns that is left over behind the wide blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from ssm2edge.quantisation import steps_of
from tests.streaming_graphs import Array, both, needs_compiler, save_stream, step_of

RANDOM = np.random.default_rng(5)
ROWS = 96
COLUMNS = (16, 17, 31, 32, 33, 47, 50, 63, 64, 65, 66, 95, 97, 130)


@needs_compiler
@pytest.mark.parametrize("bits", [8, 32])
def test_products_of_every_width_are_those_of_numpy(tmp_path: Path, bits: int) -> None:
    matrices: dict[str, Array] = {}
    for columns in COLUMNS:
        matrix = RANDOM.standard_normal((ROWS, columns))
        if bits == 8:
            rows = torch.from_numpy(matrix.T.copy())
            matrix = steps_of(rows, bits).nearest(rows).numpy().T
        matrices[f"w{columns}"] = np.ascontiguousarray(matrix, np.float32)
    made = [helper.make_node("MatMul", ["x", name], [f"y{name}"]) for name in matrices]
    outputs = {f"y{name}": (1, matrix.shape[1]) for name, matrix in matrices.items()}
    path = save_stream(tmp_path / "stream.onnx", made, {"x": (1, ROWS)}, outputs, constants=matrices)
    assert {name for kernel in step_of(path).kernels for name in kernel.helpers} == {"product8" if bits == 8 else "product"}
    x = RANDOM.standard_normal((5, ROWS)).astype(np.float32)
    (found,), _ = both(path, [{"x": x}], tmp_path)
    for name, matrix in matrices.items():
        expected = x.astype(np.float64) @ matrix.astype(np.float64)
        np.testing.assert_allclose(found[f"y{name}"].reshape(expected.shape), expected, atol=1e-6 * float(np.abs(expected).max()))
