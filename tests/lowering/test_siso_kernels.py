"""The kernels of a bank, run: every form is the recurrence at every length; states never go subnormal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssm2edge.lowering.building import Builder
from ssm2edge.lowering.choice import Choice, parse_choice
from ssm2edge.lowering.plan import Form, Plan, block_candidates, plan_block, plan_sequence, sequence_candidates
from ssm2edge.lowering.siso_bank import sequence
from ssm2edge.lowering.siso_block import arrivals, chunk, outputs, states
from ssm2edge.systems.real_form import to_real_sections
from ssm2edge.systems.system import System, siso_bank
from tests.kernel_models import kernel_model
from tests.onnx_sessions import session
from tests.random_banks import random_bank
from tests.slow_cases import slow

Array = NDArray[np.float32]

CHANNELS = 3
BLOCKS = (1, 2, 16)
FORMS: tuple[tuple[int, Form], ...] = (
    (1, "recurrent"), (1, "elementwise"), (2, "elementwise"), (7, "elementwise"), (16, "elementwise"),
    (2, "chunked"), (7, "chunked"), (16, "chunked"),
)  # fmt: skip
GROUPS = (1, 2, 5)
ORDERS = (1, 2, 3, 8)


def coefficients(system: System) -> dict[str, Array]:
    sections = to_real_sections(system)
    return {name: getattr(sections, name).float().numpy() for name in "abcd"}


def recurrence(constants: dict[str, Array], u: Array, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample by sample in float64; ``u`` is [batch, channels, time], the state [batch, channels, order]."""
    a, b, c, d = (constants[name].astype(np.float64) for name in "abcd")
    order = a.shape[1]
    A = np.zeros((len(a), order, order))
    for j in range(order):
        A[:, j, j] = a[:, j]
        partner = j + 1 if j % 2 == 0 else j - 1
        if partner < order:
            A[:, j, partner] = b[:, j]
    outputs = []
    for k in range(u.shape[-1]):
        sample = u[..., k].astype(np.float64)
        outputs.append(np.einsum("hn,bhn->bh", c, x) + d * sample)
        x = np.einsum("hij,bhj->bhi", A, x) + sample[..., None]
    return np.stack(outputs, -1), x


def sequence_model(system: System, block: int, group: int = 1) -> onnx.ModelProto:
    """Takes and gives (batch, channels, time)."""
    channels, order = system.poles.shape
    plan, size = Plan("chunked", block, channels, order, 0.0, group), ["batch", channels, "time"]

    def build(op: Builder, u: ir.Value, *constants: ir.Value) -> list[ir.Value]:
        (y,) = sequence(op, plan, op.Transpose(u, perm=[0, 2, 1]), *constants)
        return [op.Transpose(y, perm=[0, 2, 1])]

    return kernel_model(build, {"u": size}, coefficients(system), {"y": size})


def block_model(system: System, block: int, form: Form | None = None) -> onnx.ModelProto:
    """Takes and gives (batch, channels, time) and states (batch, order, channels)."""
    channels, order = system.poles.shape
    plan = Plan(form or ("recurrent" if block == 1 else "chunked"), block, channels, order, 0.0)
    one, samples, state = plan.form == "recurrent", ["batch", channels, block], ["batch", order, channels]

    def build(op: Builder, u: ir.Value, x: ir.Value, *constants: ir.Value) -> Sequence[ir.Value]:
        if plan.form == "chunked":
            return chunk(op, plan, u, x, *constants)
        by_time = op.Squeeze(u, op.integers(2)) if one else op.Transpose(u, perm=[0, 2, 1])
        moved, seen = states(op, plan, x, *constants)
        (y,) = outputs(op, plan, by_time, seen, *constants)
        return [
            op.Unsqueeze(y, op.integers(2)) if one else op.Transpose(y, perm=[0, 2, 1]),
            *arrivals(op, plan, by_time, moved, *constants),
        ]

    return kernel_model(build, {"u": samples, "x": state}, coefficients(system), {"y": samples, "x_next": state})


@cache
def bank(order: int) -> System:
    return random_bank(CHANNELS, order, seed=order)


@cache
def sequence_session(order: int, block: int, group: int = 1) -> onnxruntime.InferenceSession:
    return session(sequence_model(bank(order), block, group))


@cache
def block_session(order: int, block: int, form: Form) -> onnxruntime.InferenceSession:
    return session(block_model(bank(order), block, form))


def close(actual: Array, expected: NDArray[np.float64]) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 2e-5 * max(1.0, float(np.abs(expected).max()))


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("order", ORDERS)
def test_whole_sequences_are_the_recurrence(order: int, block: int, group: int) -> None:
    for length in sorted({1, 2, max(1, block - 1), block, block + 1, 100}):
        for batch in (1, 3):
            u = noise(length, batch, CHANNELS, length)
            expected, _ = recurrence(coefficients(bank(order)), u, np.zeros((batch, CHANNELS, order)))
            close(sequence_session(order, block, group).run(None, {"u": u})[0], expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    order=st.sampled_from(ORDERS),
    block=st.sampled_from(BLOCKS),
    group=st.sampled_from(GROUPS),
    length=st.integers(1, 120),
    batch=st.integers(1, 4),
)
def test_any_length_and_batch(order: int, block: int, group: int, length: int, batch: int) -> None:
    u = noise(length, batch, CHANNELS, length)
    expected, _ = recurrence(coefficients(bank(order)), u, np.zeros((batch, CHANNELS, order)))
    close(sequence_session(order, block, group).run(None, {"u": u})[0], expected)


@pytest.mark.parametrize(("block", "form"), FORMS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch", [slow(1), 3])
def test_blocks_carry_their_states(order: int, block: int, form: Form, batch: int) -> None:
    u = noise(7, batch, CHANNELS, 5 * block)
    start = noise(8, batch, CHANNELS, order)
    expected, final = recurrence(coefficients(bank(order)), u, start.astype(np.float64))
    x, parts = np.ascontiguousarray(start.transpose(0, 2, 1)), []
    for samples in np.split(u, 5, axis=-1):
        y, x = block_session(order, block, form).run(None, {"u": samples, "x": x})
        parts.append(y)
    close(np.concatenate(parts, -1), expected)
    close(x, final.transpose(0, 2, 1))


@pytest.mark.parametrize("order", [1, 5, 8])
def test_several_chunks_of_a_block_are_the_recurrence(order: int) -> None:
    T, count, system = 4, 3, bank(order)
    plan, samples, state = Plan("chunked", T, CHANNELS, order, 0.0), ["batch", CHANNELS, count * T], ["batch", order, CHANNELS]
    model = kernel_model(
        lambda op, u, x, *constants: chunk(op, plan, u, x, *constants, count=count),
        {"u": samples, "x": state},
        coefficients(system),
        {"y": samples, "x_next": state},
    )
    u, x = noise(3, 2, CHANNELS, count * T), noise(4, 2, order, CHANNELS)
    y, following = session(model).run(None, {"u": u, "x": x})
    expected, last = recurrence(coefficients(system), u, x.transpose(0, 2, 1).astype(np.float64))
    close(y, expected)
    close(following, last.transpose(0, 2, 1))


@pytest.mark.parametrize(("block", "form"), FORMS)
def test_streams_of_a_batch_do_not_meet(block: int, form: Form) -> None:
    u, x = noise(1, 3, CHANNELS, block), noise(2, 3, 8, CHANNELS)
    together = block_session(8, block, form).run(None, {"u": u, "x": x})
    for row in range(3):
        alone = block_session(8, block, form).run(None, {"u": u[row : row + 1], "x": x[row : row + 1]})
        for one, all_rows in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_rows[row], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("block", "form"), FORMS)
def test_silence_ends_in_zeros_without_subnormal_numbers(block: int, form: Form) -> None:
    # Moduli from quick to slow, a negative one among them: each decays through 1e-38 at another time.
    poles = np.array([[0.5j, -0.5j, 0.9, -0.8], [0.3 + 0.8j, 0.3 - 0.8j, 0.97, 0.1], [0.95j, -0.95j, -0.6, 0.2]])
    system = siso_bank(torch.from_numpy(poles), torch.ones(CHANNELS, 4, dtype=torch.complex128), bank(4).D[:, 0, 0])
    run = session(block_model(system, block, form))
    x = np.zeros((1, 4, CHANNELS), np.float32)
    for k in range(64 // block):
        _, x = run.run(None, {"u": noise(k, 1, CHANNELS, block), "x": x})
    assert np.abs(x).min() > 1e-3
    silence = np.zeros((1, CHANNELS, block), np.float32)
    tiny = np.finfo(np.float32).tiny
    for _ in range(4000 // block):
        y, x = run.run(None, {"u": silence, "x": x})
        for value in (x, y):
            assert not ((value != 0) & (np.abs(value) < tiny)).any()
    assert np.abs(x).max() < 1e-20
    assert np.abs(y).max() < 1e-19


def test_flushing_does_not_change_what_a_signal_shows() -> None:
    u = noise(3, 1, CHANNELS, 100) * np.float32(1e-12)
    expected, _ = recurrence(coefficients(bank(8)), u, np.zeros((1, CHANNELS, 8)))
    actual = sequence_session(8, 16).run(None, {"u": u})[0]
    assert np.abs(actual - expected).max() <= 2e-5 * np.abs(expected).max()


def test_slow_poles_do_not_drift_between_forms() -> None:
    # A pole whose distance to the circle is a few float32 roundings: constants computed in float32 would miss it.
    pole = (1 - 3e-6) * np.exp(0.01j)
    poles = np.array([[pole, pole.conjugate(), 1 - 2e-6]] * CHANNELS)
    system = siso_bank(torch.from_numpy(poles), torch.ones(CHANNELS, 3, dtype=torch.complex128), bank(3).D[:, 0, 0])
    u = np.zeros((1, CHANNELS, 6000), np.float32)
    u[..., 0] = 1
    expected, _ = recurrence(coefficients(system), u, np.zeros((1, CHANNELS, 3)))
    actual = session(sequence_model(system, 64, 4)).run(None, {"u": u})[0]
    assert np.abs(actual - expected).max() <= 2e-4 * np.abs(expected).max()


def operators(graph: onnx.GraphProto) -> list[str]:
    found = []
    for node in graph.node:
        found.append(node.op_type)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += operators(attribute.g)
    return found


@pytest.mark.parametrize("block", [1, 16, 64])
def test_files_hold_the_parameters_and_little_else(block: int) -> None:
    for order in (2, 8):
        sizes = []
        for channels in (8, 256):
            system = random_bank(channels, order)
            graphs = (sequence_model(system, block), block_model(system, block))
            sizes.append([len(graph.SerializeToString()) for graph in graphs])
        parameters = (256 - 8) * (3 * order + 1) * 4
        for small, large in zip(*sizes, strict=True):
            assert parameters <= large - small <= 1.01 * parameters + 64
            assert small < 14_000 + 8 * (3 * order + 1) * 4


@pytest.mark.parametrize("block", BLOCKS)
def test_no_loops_over_samples(block: int) -> None:
    whole, step = operators(sequence_model(bank(8), block).graph), operators(block_model(bank(8), block).graph)
    assert whole.count("Scan") == 1
    assert "Scan" not in step
    assert not {"Loop", "If", "DFT", "STFT"} & {*whole, *step}


@pytest.mark.parametrize(("block", "form", "most"), [(1, "recurrent", 14), (16, "chunked", 9), (16, "elementwise", 20)])
def test_what_depends_on_parameters_alone_is_folded_at_load_time(block: int, form: Form, most: int, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = block_model(bank(8), block, form)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = operators(onnx.load(options.optimized_model_filepath).graph)
    assert len(folded) <= most < len(operators(model.graph))


def test_plans() -> None:
    assert plan_block(4, 8, 1).form == "recurrent"
    for channels, order in ((4, 1), (64, 8), (128, 64), (1024, 2)):
        plan = plan_sequence(channels, order)
        assert plan.form == "chunked"
        assert plan.group >= 1
        assert str(plan.block) in str(plan)
        for block in (2, 16, 31, 64, 240):
            chosen = plan_block(channels, order, block)
            assert block % chosen.block == 0
            assert chosen.nanoseconds == min(candidate.nanoseconds for candidate in block_candidates(channels, order, block))
        costs = [candidate.nanoseconds for candidate in sequence_candidates(channels, order)]
        assert costs == sorted(costs)
        assert plan.nanoseconds == costs[0]
    for block in (0, -3):
        with pytest.raises(ValueError, match="at least one sample"):
            plan_block(4, 8, block)


def test_cheap_samples_are_computed_by_elements_and_long_blocks_by_products() -> None:
    assert plan_block(128, 8, 4).form == "elementwise"
    assert plan_block(128, 8, 64).form == "chunked"
    assert plan_sequence(128, 64).block > plan_sequence(128, 2).block
    assert plan_sequence(128, 8, length=16384).block > plan_sequence(128, 8, length=784).block


def test_a_users_choice_comes_before_the_cost_model() -> None:
    assert plan_sequence(128, 8, parse_choice("sequence:64")).block == 64
    chosen = plan_block(128, 8, 32, parse_choice("elementwise:8+sequence:20"))
    assert (chosen.form, chosen.block) == ("elementwise", 8)
    assert plan_block(128, 8, 32, parse_choice("")) == plan_block(128, 8, 32)
    assert plan_block(128, 8, 1, parse_choice("chunked:16")).form == "recurrent"
    assert parse_choice("chunked") == Choice(form="chunked")
    for impossible in ("chunked:5", "unrolled"):
        with pytest.raises(ValueError, match="cannot be computed"):
            plan_block(128, 8, 32, parse_choice(impossible))
    for text in ("chunk:64", "sequence", "sequence:0", "sequence:x", "chunked:8+elementwise:8", "sequence:8+sequence:8"):
        with pytest.raises(ValueError, match="sequence"):
            parse_choice(text)
