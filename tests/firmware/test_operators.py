"""Every operator that has a C form gives what it gives in onnxruntime, with random numbers, shapes that repeat, and states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.operators import EMITTERS
from tests.streaming_graphs import Array, both, needs_compiler, save_stream, step_of

RANDOM = np.random.default_rng(5)
SAMPLES = 6


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """One node on ``x (batch, 3, 4)``, ``y (batch, 3, 4)`` and constants; its output has ``shape`` behind the batch."""

    kind: str
    inputs: tuple[Any, ...] = ("x",)
    shape: tuple[int, ...] = (3, 4)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    truth: bool = False


CASES = [
    *(
        Case(kind)
        for kind in (
            "Abs",
            "Ceil",
            "Celu",
            "Cos",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "LeakyRelu",
            "Mish",
            "Neg",
            "Reciprocal",
            "Relu",
            "Round",
            "Selu",
            "Sigmoid",
            "Sign",
            "Sin",
            "Softplus",
            "Softsign",
            "Tan",
            "Tanh",
            "Softmax",
            "LogSoftmax",
        )
    ),
    *(Case(kind, ("x", "y")) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu")),
    Case("Mod", ("x", "y"), attributes={"fmod": 1}),
    Case("Add", ("x", normal(4))),
    Case("Mul", (normal(3, 1), "x")),
    Case("Div", ("x", normal(3, 1))),
    Case("Sum", ("x", "y", normal(4))),
    Case("Pow", ("x", np.float32(2.0))),
    Case("Pow", ("p", normal(4))),
    Case("Sqrt", ("p",)),
    Case("Log", ("p",)),
    Case("Clip", ("x", np.float32(-0.5), np.float32(0.25))),
    Case("Equal", ("x", "x"), truth=True),
    *(Case(kind, ("x", "y"), truth=True) for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *(Case(kind, ("b", "c"), truth=True) for kind in ("And", "Or", "Xor")),
    Case("Not", ("b",), truth=True),
    Case("Where", ("b", "x", "y")),
    Case("Cast", ("b",), attributes={"to": 1}),
    Case("Reshape", ("x", integers(0, 2, 6)), (2, 6)),
    Case("Flatten", ("x",), (12,)),
    Case("Unsqueeze", ("x", integers(2)), (3, 1, 4)),
    Case("Dropout"),
    Case("Transpose", ("x",), (4, 3), {"perm": [0, 2, 1]}),
    Case("Expand", ("m", integers(1, 3, 4))),
    Case("Squeeze", ("m", integers(1)), (4,)),
    Case("Slice", ("x", integers(1, 0), integers(3, 4), integers(1, 2), integers(1, 2)), (2, 2)),
    Case("Slice", ("x", integers(-1), integers(-9), integers(2), integers(-1))),
    Case("Split", ("x", integers(1, 3)), (3, 1), {"axis": 2}, outputs=2),
    Case("Gather", ("x", integers(1, 0, 3, 2)), attributes={"axis": 2}),
    Case("Gather", ("x", integers(2, 0, 1, 1, 2)), (5, 4), {"axis": 1}),
    Case("Gather", ("x", np.array(1, np.int64)), (4,), {"axis": 1}),
    Case("Gather", (normal(7, 2), "t"), (3, 2)),
    Case("Concat", ("x", "m", "y"), (7, 4), {"axis": 1}),
    Case("Pad", ("x", integers(0, 1, 2, 0, 0, 1), np.float32(1.5)), (4, 7)),
    Case("Pad", ("x", integers(0, 1, -1, 0, 0, 1)), (4, 4)),
    Case("Tile", ("x", integers(1, 2, 1)), (6, 4)),
    Case("MatMul", ("x", normal(4, 21)), (3, 21)),
    Case("MatMul", ("x", normal(1, 4, 5)), (3, 5)),
    Case("MatMul", ("x", "z"), (3, 3)),
    Case("MatMul", (np.ones((1, 3), np.float32), "x"), (1, 4)),
    Case("MatMul", (normal(2, 3), "x"), (2, 4)),
    Case("Gemm", ("r", normal(12, 5), normal(5)), (5,)),
    Case("Gemm", ("r", normal(5, 12), "q"), (5,), {"transB": 1, "alpha": 0.5}),
    Case("Conv", ("x", normal(6, 3, 2), normal(6)), (6, 4), {"pads": [1, 0]}),
    Case("Conv", ("x", normal(6, 1, 2)), (6, 2), {"group": 3, "dilations": [2]}),
    Case("Conv", ("k", normal(2, 1, 2, 3)), (2, 2, 2)),
    Case("ConvTranspose", ("x", normal(3, 2, 3), normal(2)), (2, 8), {"strides": [2], "pads": [1, 0]}),
    Case("ConvTranspose", ("x", normal(3, 1, 2)), (3, 5), {"group": 3}),
    *(Case(kind, ("x", integers(1)), (1, 4)) for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")),
    *(Case(kind, ("x", integers(2)), (3,), {"keepdims": 0}) for kind in ("ReduceSum", "ReduceMean", "ReduceL2", "ReduceMax")),
    Case("ReduceSumSquare", ("x", integers(1, 2)), (1, 1)),
    Case("GlobalAveragePool", ("x",), (3, 1)),
    Case("AveragePool", ("x",), (3, 4), {"kernel_shape": [3], "pads": [1, 1]}),
    Case("AveragePool", ("k",), (1, 2, 2), {"kernel_shape": [2, 2], "strides": [1, 2]}),
    Case("MaxPool", ("x",), (3, 2), {"kernel_shape": [2], "strides": [2]}),
    Case("CumSum", ("x", integers(2))),
    Case("CumSum", ("x", integers(1)), attributes={"exclusive": 1, "reverse": 1}),
    Case("LayerNormalization", ("x", normal(4), normal(4))),
    Case("LayerNormalization", ("x", normal(3, 4)), attributes={"axis": 1}),
    Case("InstanceNormalization", ("x", normal(3), normal(3))),
    Case("BatchNormalization", ("x", normal(3), normal(3), normal(3), normal(3) ** 2)),
]


def nodes() -> Iterator[tuple[list[Any], dict[str, tuple[int, ...]], dict[str, Array]]]:
    """Yield for each case its nodes, its outputs with their shapes, and its constants."""
    for number, case in enumerate(CASES):
        constants, names = {}, []
        for place, given in enumerate(case.inputs):
            if not isinstance(given, str):
                constants[f"c{number}.{place}"] = np.asarray(given)
                given = f"c{number}.{place}"
            names.append(given)
        results = [f"o{number}.{place}" for place in range(case.outputs)]
        inner = [f"{result}.truth" if case.truth else result for result in results]
        made = [helper.make_node(case.kind, names, inner, name=f"n{number}", **case.attributes)]
        made += [helper.make_node("Cast", [inner[0]], [results[0]], to=1)] if case.truth else []
        shapes = {result: (3, 3) if place else case.shape for place, result in enumerate(results)}
        yield made, shapes, constants


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs of all cases, of the C form and of onnxruntime; the graph takes ``x (batch, 1, 12)`` and tokens."""
    folder = tmp_path_factory.mktemp("operators")
    made = [
        helper.make_node("Reshape", ["u", "shape"], ["x"]),
        helper.make_node("Reshape", ["u", "box"], ["k"]),
        helper.make_node("Reshape", ["u", "row"], ["r"]),
        helper.make_node("Reshape", ["v", "shape"], ["y"]),
        helper.make_node("Transpose", ["y"], ["z"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["x", "x"], ["p.0"]),
        helper.make_node("Add", ["p.0", "half"], ["p"]),
        helper.make_node("Greater", ["x", "y"], ["b"]),
        helper.make_node("Greater", ["x", "half"], ["c"]),
        helper.make_node("ReduceMean", ["x", "one"], ["m"]),
        helper.make_node("Slice", ["r", "zero", "five", "one"], ["q"]),
        helper.make_node("Squeeze", ["tokens", "one"], ["t"]),
    ]
    constants: dict[str, Array] = {
        "shape": integers(-1, 3, 4),
        "box": integers(-1, 1, 3, 4),
        "row": integers(-1, 12),
        "half": np.float32(0.5).reshape(1),
        "one": integers(1),
        "zero": integers(0),
        "five": integers(5),
    }
    outputs: dict[str, tuple[int, ...]] = {}
    for some, shapes, fixed in nodes():
        made += some
        outputs |= shapes
        constants |= fixed
    inputs = {"u": (1, 12), "v": (1, 12), "tokens": (1, 3)}
    path = save_stream(folder / "stream.onnx", made, inputs, outputs, constants=constants, kinds={"tokens": "int64"})
    sequence = {"u": normal(SAMPLES, 12), "v": normal(SAMPLES, 12), "tokens": RANDOM.integers(-7, 7, (SAMPLES, 3))}
    (found,), (expected,) = both(path, [sequence], folder)
    return found, expected


@needs_compiler
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number].kind}-{number}")
def test_operator_gives_what_onnxruntime_gives(answers: tuple[dict[str, Array], dict[str, Array]], number: int) -> None:
    found, expected = answers
    for name in (f"o{number}.{place}" for place in range(CASES[number].outputs)):
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=3e-6, atol=1e-6 * np.abs(expected[name]).max())


@needs_compiler
def test_large_numbers_saturate_and_small_deviations_are_normalised(tmp_path: Path) -> None:
    made = [
        helper.make_node("Erf", ["u"], ["erf"]),
        helper.make_node("Tanh", ["u"], ["tanh"]),
        helper.make_node("LayerNormalization", ["v", "scale", "shift"], ["norm"], epsilon=1e-12),
    ]
    constants = {"scale": np.ones(12, np.float32), "shift": np.zeros(12, np.float32)}
    shapes = {"u": (1, 12), "v": (1, 12)}
    path = save_stream(
        tmp_path / "stream.onnx", made, shapes, dict.fromkeys(("erf", "tanh", "norm"), (1, 12)), constants=constants
    )
    large = np.array([10, 11, 47, 300, 1e6, 1e30], np.float32)
    v = (1000 + 0.01 * RANDOM.standard_normal((1, 12))).astype(np.float32)
    (found,), _ = both(path, [{"u": np.concatenate((large, -large))[None], "v": v}], tmp_path)
    # A GELU multiplies 1 + erf(x) by x: what is not exactly zero there is large.
    for name in ("erf", "tanh"):
        np.testing.assert_array_equal(found[name][0], np.repeat([1.0, -1.0], 6))
    exact = v.astype(np.float64) - v.astype(np.float64).mean()
    np.testing.assert_allclose(found["norm"], exact / np.sqrt(np.mean(exact**2)), atol=2e-5)


def test_every_operator_has_a_case() -> None:
    assert {case.kind for case in CASES} | {"Gelu"} == set(EMITTERS)


def test_an_operator_without_a_c_form_is_refused_with_its_node_and_line(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="blocks.0/det", doc_string="model.py:17")
    path = save_stream(tmp_path / "stream.onnx", [node], {"x": (1, 2, 2)}, {"y": (1,)})
    with pytest.raises(FirmwareError, match=r"node blocks\.0/det of the operator Det .*model\.py:17") as fault:
        step_of(path)
    assert re.fullmatch(r"[^\n]*\.", str(fault.value))


def test_a_node_that_runs_another_graph_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Identity", ["t"], ["f"])],
        "body",
        [helper.make_tensor_value_info(name, 1, [2]) for name in ("s", "e")],
        [helper.make_tensor_value_info(name, 1, [2]) for name in ("t", "f")],
    )
    made = [
        helper.make_node("ReduceSum", ["x", "zero"], ["rows"], keepdims=0),
        helper.make_node("ReduceSum", ["rows", "zero"], ["s"], keepdims=0),
        helper.make_node("Scan", ["s", "rows"], ["last", "all"], name="scan", num_scan_inputs=1, body=body),
        helper.make_node("Unsqueeze", ["last", "zero"], ["y"]),
    ]
    path = save_stream(tmp_path / "stream.onnx", made, {"x": (1, 2)}, {"y": (2,)}, constants={"zero": integers(0)})
    with pytest.raises(FirmwareError, match="node scan of the operator Scan"):
        step_of(path)
