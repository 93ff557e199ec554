"""The kernels of MIMO and quadratic-output systems, run: every form is the recurrence at every length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from ssm2edge.lowering import mimo
from ssm2edge.lowering.mimo_plan import Feedthrough, MimoForm, MimoPlan, plan_mimo_block, plan_mimo_sequence
from tests.kernel_models import kernel_model
from tests.onnx_sessions import session

Array = NDArray[np.float32]
Constants = dict[str, Array]

INPUTS, OUTPUTS = 3, 4
SIZES: dict[Feedthrough, tuple[int, int]] = {"full": (INPUTS, OUTPUTS), "diagonal": (OUTPUTS, OUTPUTS), "none": (INPUTS, OUTPUTS)}
ORDERS = (1, 2, 5, 8)
WALKS: dict[int, tuple[int, tuple[int, ...]]] = {2: (2, ()), 16: (8, (4,)), 48: (12, (3, 2)), 24: (6, (6,))}
"""Chunks of long blocks, and groups of them, by the samples of the block."""


def random_constants(
    order: int, squares: int, feedthrough: Feedthrough = "full", sizes: tuple[int, int] | None = None
) -> Constants:
    """A stable system: as many rotations as fit, every second one turned into two real poles, and an odd real state."""
    generator, largest = np.random.default_rng(10 * order + squares), 0.97
    inputs, outputs = sizes or SIZES[feedthrough]
    a, b = generator.uniform(-largest, largest, order), np.zeros(order)
    for first in range(0, order - 1, 4):
        pole = generator.uniform(0.3, largest) * np.exp(1j * generator.uniform(0.1, 3.0))
        a[first : first + 2], b[first : first + 2] = pole.real, (-pole.imag, pole.imag)
    constants = {
        "a": a,
        "b": b,
        "B": generator.standard_normal((order, inputs)),
        "C": generator.standard_normal((outputs, order)),
    }
    if feedthrough != "none":
        constants["D"] = generator.standard_normal((outputs, inputs) if feedthrough == "full" else outputs)
    if squares:
        constants |= {"V": generator.standard_normal((squares, order)), "W": generator.standard_normal((outputs, squares))}
    return {name: value.astype(np.float32) for name, value in constants.items()}


def recurrence(constants: Constants, u: Array, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample by sample in float64; ``u`` is [batch, time, inputs], the state [batch, order]."""
    a, b, B, C = (constants[name].astype(np.float64) for name in ("a", "b", "B", "C"))
    D = constants.get("D", np.zeros(len(C))).astype(np.float64)
    order = len(a)
    A = np.diag(a)
    for j in range(0, order - 1, 2):
        A[j, j + 1], A[j + 1, j] = b[j], b[j + 1]
    outputs = []
    for k in range(u.shape[1]):
        sample = u[:, k].astype(np.float64)
        following = x @ A.T + sample @ B.T
        y = x @ C.T + sample @ D.T if D.ndim == 2 else following @ C.T
        if D.ndim == 1 and D.any():
            y = y + sample * D
        if "V" in constants:
            forms = np.einsum("pq,qi,qj->pij", constants["W"], constants["V"], constants["V"], dtype=np.float64)
            y = y + np.einsum("bi,pij,bj->bp", x, forms, x)
        outputs.append(y)
        x = following
    return np.stack(outputs, 1), x


def model_of(
    kernel: Callable[..., Sequence[ir.Value]], plan: MimoPlan, constants: Constants, ports: dict[str, list[int | str]]
) -> onnx.ModelProto:
    results: dict[str, list[int | str]] = {"y": [*ports["u"][:2], len(constants["C"])]}
    if "x" in ports:
        results["x_next"] = ports["x"]
    return kernel_model(lambda op, *values: kernel(op, plan, *values), ports, constants, results)


@cache
def sequence_session(
    order: int, squares: int, chunk: int, feedthrough: Feedthrough, groups: tuple[int, ...] = ()
) -> onnxruntime.InferenceSession:
    inputs, outputs = SIZES[feedthrough]
    plan = MimoPlan("chunked", chunk, inputs, order, outputs, squares, 0.0, feedthrough=feedthrough, groups=groups)
    constants = random_constants(order, squares, feedthrough)
    return session(model_of(mimo.sequence, plan, constants, {"u": ["batch", "time", inputs]}))


@cache
def block_session(
    order: int, squares: int, block: int, form: MimoForm, feedthrough: Feedthrough = "full"
) -> onnxruntime.InferenceSession:
    inputs, outputs = SIZES[feedthrough]
    parts, groups = WALKS[block] if form == "unrolled" else (1, ())
    plan = MimoPlan(form, block, inputs, order, outputs, squares, 0.0, feedthrough=feedthrough, parts=parts, groups=groups)
    constants = random_constants(order, squares, feedthrough)
    return session(model_of(mimo.block, plan, constants, {"u": ["batch", block, inputs], "x": ["batch", order]}))


def close(actual: Array, expected: NDArray[np.float64]) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max()))


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("feedthrough", SIZES)
@pytest.mark.parametrize("squares", [0, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_sequences_of_every_length_are_the_recurrence(order: int, squares: int, chunk: int, feedthrough: Feedthrough) -> None:
    for batch, length in ((1, 1), (2, 3), (3, chunk), (2, chunk + 1), (1, 5 * chunk - 1)):
        u = noise(length, batch, length, SIZES[feedthrough][0])
        (y,) = sequence_session(order, squares, chunk, feedthrough).run(None, {"u": u})
        close(y, recurrence(random_constants(order, squares, feedthrough), u, np.zeros((batch, order)))[0])


@pytest.mark.parametrize("groups", [(4,), (3, 2), (2, 2, 2)])
def test_sequences_are_the_recurrence_in_groups_of_chunks(groups: tuple[int, ...]) -> None:
    for batch, length in ((1, 1), (3, 2), (2, 8), (1, 9), (2, 15), (1, 16), (1, 17), (3, 131)):
        u = noise(length, batch, length, INPUTS)
        (y,) = sequence_session(5, 2, 2, "full", groups).run(None, {"u": u})
        close(y, recurrence(random_constants(5, 2), u, np.zeros((batch, 5)))[0])


@pytest.mark.parametrize("squares", [0, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("block", "form", "feedthrough"),
    [
        *((1, "merged", feedthrough) for feedthrough in SIZES if feedthrough != "full"),
        *((1, "recurrent", feedthrough) for feedthrough in SIZES),
        *((block, form, feedthrough) for block in (2, 16) for form in ("chunked", "unrolled") for feedthrough in SIZES),
        *((block, "unrolled", "full") for block in (24, 48)),
    ],
)
def test_blocks_with_carried_states_are_the_recurrence(
    order: int, squares: int, block: int, form: MimoForm, feedthrough: Feedthrough
) -> None:
    constants, u = random_constants(order, squares, feedthrough), noise(7, 2, 4 * block, SIZES[feedthrough][0])
    expected, last = recurrence(constants, u, np.zeros((2, order)))
    x, outputs = np.zeros((2, order), np.float32), []
    for start in range(0, 4 * block, block):
        y, x = block_session(order, squares, block, form, feedthrough).run(None, {"u": u[:, start : start + block], "x": x})
        outputs.append(y)
    close(np.concatenate(outputs, 1), expected)
    close(x, last)


@pytest.mark.parametrize("feedthrough", SIZES)
@pytest.mark.parametrize(("block", "form"), [(1, "recurrent"), (16, "chunked"), (16, "unrolled")])
def test_blocks_start_from_any_state(block: int, form: MimoForm, feedthrough: Feedthrough) -> None:
    u, x = noise(1, 3, block, SIZES[feedthrough][0]), noise(2, 3, 8)
    y, following = block_session(8, 2, block, form, feedthrough).run(None, {"u": u, "x": x})
    expected, last = recurrence(random_constants(8, 2, feedthrough), u, x.astype(np.float64))
    close(y, expected)
    close(following, last)


@pytest.mark.parametrize(
    ("block", "form", "feedthrough"),
    [
        *((1, "merged", feedthrough) for feedthrough in SIZES if feedthrough != "full"),
        *(
            (block, form, feedthrough)
            for block, form in ((1, "recurrent"), (16, "chunked"), (16, "unrolled"))
            for feedthrough in SIZES
        ),
    ],
)
def test_states_decay_to_zero_and_not_to_subnormal_numbers(block: int, form: MimoForm, feedthrough: Feedthrough) -> None:
    # One row begins in the range of states, one just above the subnormal numbers.
    x = np.outer([1e-19, 1.001 * np.finfo(np.float32).tiny], np.ones(5)).astype(np.float32)
    silence = np.zeros((2, block, SIZES[feedthrough][0]), np.float32)
    for _ in range(1600 // block):
        _, x = block_session(5, 2, block, form, feedthrough).run(None, {"u": silence, "x": x})
        assert not ((x != 0) & (np.abs(x) < np.finfo(np.float32).tiny)).any()
    # States are multiples of 2^-94, of which poles of 0.97 may round 16 to 16 again.
    assert np.abs(x).max() <= 16 * 2.0**-94


def test_silence_leaves_no_subnormal_numbers_in_whole_sequences() -> None:
    # The first state lasts; the second decays through all magnitudes before the end.
    constants = random_constants(2, 0) | {"a": np.array([1.0, 0.97], np.float32), "b": np.zeros(2, np.float32)}
    constants |= {"C": np.eye(2, dtype=np.float32), "D": np.zeros((2, INPUTS), np.float32)}
    u = np.zeros((1, 6000, INPUTS), np.float32)
    u[0, 0] = 1.0
    for groups in ((), (4,), (2, 3)):
        plan = MimoPlan("chunked", 4, INPUTS, 2, 2, 0, 0.0, groups=groups)
        (y,) = session(model_of(mimo.sequence, plan, constants, {"u": ["batch", "time", INPUTS]})).run(None, {"u": u})
        assert not ((y != 0) & (np.abs(y) < np.finfo(np.float32).tiny)).any()
        assert np.abs(y[0, -1, 1]) < 1e-20


def test_slow_poles_keep_their_last_bits() -> None:
    constants = random_constants(2, 0) | {"a": np.full(2, 1 - 2.0**-20, np.float32), "b": np.zeros(2, np.float32)}
    u = np.zeros((1, 40_000, INPUTS), np.float32)
    u[0, 0] = 1.0
    plan = plan_mimo_sequence(INPUTS, 2, OUTPUTS, 0)
    (y,) = session(model_of(mimo.sequence, plan, constants, {"u": ["batch", "time", INPUTS]})).run(None, {"u": u})
    close(y, recurrence(constants, u, np.zeros((1, 2)))[0])


def test_files_grow_with_parameters_and_not_with_chunks() -> None:
    constants = random_constants(16, 4, sizes=(8, 8))
    plans = [MimoPlan("chunked", chunk, 8, 16, 8, 4, 0.0) for chunk in (4, 64)]
    short, long = (model_of(mimo.sequence, plan, constants, {"u": ["batch", "time", 8]}).ByteSize() for plan in plans)
    parameters = sum(value.nbytes for value in constants.values())
    assert long < short + parameters


def test_plans_say_what_they_cost() -> None:
    small, large = plan_mimo_sequence(16, 8, 16, 0), plan_mimo_sequence(16, 64, 16, 8)
    assert small.form == large.form == "chunked"
    for order in (8, 32, 64):
        depths = [len(plan_mimo_sequence(16, order, 16, 0, length=length).groups) for length in (16, 1024, 65536)]
        assert depths == sorted(depths)
        assert depths[0] < depths[-1]
    assert large.multiply_adds > 64 * 32 + 16 * 16 + 8 * (64 + 16)
    assert plan_mimo_block(16, 8, 16, 0, 1).form == "recurrent"
    assert plan_mimo_block(16, 8, 16, 0, 16).form == "chunked"
    assert plan_mimo_block(16, 8, 16, 0, 1024).form == "unrolled"
    # A wide layer's own matrix is never made; a narrow one's is smaller than the nodes that it saves.
    assert plan_mimo_block(256, 8, 256, 0, 1, feedthrough="diagonal").form == "recurrent"
    assert plan_mimo_block(256, 8, 256, 0, 1, feedthrough="diagonal").multiply_adds == 8 * (256 + 8 + 256) + 256
    assert plan_mimo_block(16, 8, 16, 0, 1, feedthrough="diagonal").form == "merged"
    assert plan_mimo_sequence(64, 8, 64, 0, feedthrough="none").multiply_adds < 64 * 64
    with pytest.raises(ValueError, match="at least one sample"):
        plan_mimo_block(16, 8, 16, 0, 0)
