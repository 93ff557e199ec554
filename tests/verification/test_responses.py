"""Every layer's responses, cut out of the graph, are its system's; a fault in one layer fails the checks that bear its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from ssm2edge.artifact import LARGEST_SIGNAL
from ssm2edge.stages.portray import layer_figures
from ssm2edge.stages.respond import respond
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import System, from_conjugate_half
from ssm2edge.verification import Check, Subject, examine
from ssm2edge.verification.parts import Layer
from ssm2edge.verification.responses import MeasuredLayer, checks, measure
from ssm2edge.verification.verify import run_check
from tests.random_banks import random_bank
from tests.slow_cases import slow, slow_but
from tests.verification.response_cases import LENGTH, MODELS, NOBODY, Case, close


def results(subject: Subject) -> dict[str, Check]:
    return {name: check for name, run in checks(subject) for check in run_check(name, run, subject)}


def failed(subject: Subject) -> set[str]:
    return {name for name, check in results(subject).items() if not check.passed}


def recursion(system: System, signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outputs ``[time, outputs]`` of a layer for inputs ``[time, inputs]``: its equations, written down channel by channel."""
    if not system.batch_shape:
        parts = [value.numpy() for value in (system.poles, system.B, system.C, system.D)]
        return _run(*parts, _forms(system), signal, getattr(system, "after_sample", False))
    channels = range(system.batch_shape.numel())
    banks = [[value[i].numpy() for value in (system.poles, system.B, system.C, system.D)] for i in channels]
    return np.concatenate([_run(*banks[i], None, signal[:, i : i + 1]) for i in channels], axis=1)


def _forms(system: System) -> NDArray[np.complex128] | None:
    return None if system.M is None else np.asarray(system.M.numpy())


def _run(
    poles: Any, B: Any, C: Any, D: Any, M: Any, signal: NDArray[np.float64], after_sample: bool = False
) -> NDArray[np.float64]:
    x, outputs = np.zeros(len(poles), complex), []
    for u in signal:
        following = poles * x + B @ u
        y = (C @ (following if after_sample else x)).real + D @ u
        if M is not None:
            y = y + np.array([(x @ form @ x).real for form in M])
        outputs.append(y)
        x = following
    return np.array(outputs)


def mimo(inputs: int, outputs: int) -> System:
    """One system of four states."""
    generator = torch.Generator().manual_seed(0)
    B, C = (torch.randn(*shape, generator=generator, dtype=torch.complex128) for shape in ((2, inputs), (outputs, 2)))
    D = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    return from_conjugate_half(torch.tensor([0.9 + 0.1j, 0.3 + 0.5j]), B, C, D)


@pytest.mark.parametrize("kind", slow_but(("quadratic outputs",), MODELS))
def test_graph_pack_and_equations_agree(case: Callable[[str], Case], kind: str) -> None:
    made = case(kind)
    pack, calls = made.pack, list(made.subject.model.layers)
    assert set(pack.layers) == set(made.before)
    assert all(check.passed for check in results(made.subject).values())
    length = pack.length
    assert length == LENGTH + 1
    for name, layer in pack.layers.items():
        for call in [call for call in calls if call.partition("@")[0] == name]:
            found = measure(made.layer(call), layer, pack)
            for which, system in ((layer.original, made.before[name]), (layer.reduced, made.after[name])):
                for k, direction in enumerate(layer.directions.astype(np.float64)):
                    impulse = np.zeros((length, len(direction)))
                    impulse[0] = direction
                    there, back = recursion(system, impulse), recursion(system, -impulse)
                    odd, even = ((there - back) / 2).T, ((there + back) / 2).T
                    close(which.impulse[k], odd[:, pack.times])
                    waves = np.exp(-2j * np.pi * np.outer(np.arange(length), pack.frequencies))
                    close(which.frequency[k, ..., 0] + 1j * which.frequency[k, ..., 1], odd @ waves)
                    if which.quadratic is not None:
                        close(which.quadratic[k], even[:, pack.times])
            close(found.impulse, layer.reduced.impulse)
            close(found.frequency, layer.reduced.frequency)
            assert (found.quadratic is None) == (kind != "quadratic outputs")
            if found.quadratic is not None and layer.reduced.quadratic is not None:
                assert np.abs(layer.reduced.quadratic).max() > 1e-3
                close(found.quadratic, layer.reduced.quadratic, 1e-4)


def test_stored_responses_of_a_bank_are_scipys_where_poles_have_died_away() -> None:
    bank = random_bank(5, 6, largest=0.8)
    layer, pack = (made := respond({"bank": bank}, {"bank": bank}, ["bank"], 300)).layers["bank"], made
    impulse = np.zeros(pack.length)
    impulse[0] = 1
    for channel in range(5):
        residues, poles, feedthrough = (x[channel].numpy() for x in (bank.residues, bank.poles, bank.D[:, 0, 0]))
        late, denominator = scipy.signal.invresz(residues, poles, [])
        numerator = np.polyadd(feedthrough * denominator, np.append(0, late)[: len(denominator)])
        numerator, denominator = np.real(numerator), np.real(denominator)
        close(layer.original.impulse[0, channel], scipy.signal.lfilter(numerator, denominator, impulse)[pack.times])
        _, response = scipy.signal.freqz(numerator, denominator, 2 * np.pi * pack.frequencies)
        close(layer.original.frequency[0, channel, :, 0] + 1j * layer.original.frequency[0, channel, :, 1], response)


def test_error_over_all_samples_is_the_relative_h2_error() -> None:
    before, after = random_bank(5, 6, seed=1), random_bank(5, 6, seed=2)
    pack = respond({"bank": before}, {"bank": after}, ["bank"], 30)
    assert list(pack.times) == list(range(31))
    error = float(h2_error(before, after, 30).norm() / h2_norm(before, 30).norm())
    layer = pack.layers["bank"]
    measured = MeasuredLayer(NOBODY, "bank", layer, pack)
    measured.__dict__["found"] = layer.reduced
    check = measured.impulse(NOBODY)
    assert check.figure == pytest.approx(error, rel=1e-5)
    assert check.passed


def test_report_overlays_the_responses_that_are_checked(case: Callable[[str], Case]) -> None:
    made = case("S4D")
    layer = made.pack.layers["layers.1"]
    figures = layer_figures("layers.1", made.before["layers.1"], made.after["layers.1"], LENGTH)
    assert len(figures.responses) == 3
    for drawn in figures.responses:
        channel = int(drawn.title.removeprefix("channel ").partition(",")[0])
        shared = np.isin(drawn.times, made.pack.times)
        assert shared.sum() == LENGTH
        for curve, stored in ((drawn.impulse_before, layer.original), (drawn.impulse_after, layer.reduced)):
            close(np.array(curve), stored.impulse[0, channel, drawn.times], 1e-4)


def test_directions_of_many_inputs_drive_each_of_them() -> None:
    system = mimo(11, 7)
    layer = respond({"mimo": system}, {"mimo": system}, ["mimo"], 30).layers["mimo"]
    assert layer.directions.shape == (4, 11)
    assert set(np.unique(layer.directions)) == {-1.0, 1.0}
    assert np.linalg.matrix_rank(layer.directions) == 4


@pytest.mark.slow
def test_pack_stays_small_whatever_the_model() -> None:
    bank = random_bank(400, 4)
    names = [f"layers.{i}" for i in range(12)]
    pack = respond(dict.fromkeys(names, bank), dict.fromkeys(names, bank), names, None)
    numbers = sum(
        x.size for layer in pack.layers.values() for y in (layer.original, layer.reduced) for x in (y.impulse, y.frequency)
    )
    assert numbers <= 250_000
    assert pack.length == 4096
    assert len(pack.times) >= 10


@pytest.mark.slow
def test_wide_banks_are_run_no_longer_than_a_pack_may_ask_for() -> None:
    bank = random_bank(1, 2)[torch.zeros(5000, dtype=torch.int64)]
    pack = respond({"bank": bank}, {"bank": bank}, ["bank"], None)
    assert pack.length == LARGEST_SIGNAL // 5000
    assert pack.layers["bank"].original.impulse.shape[1] == 5000


def wrong(name: str, change: Callable[[NDArray[np.float32]], None]) -> Callable[[onnx.ModelProto], None]:
    """One constant of the graph changed in place."""

    def plant(graph: onnx.ModelProto) -> None:
        (tensor,) = (tensor for tensor in graph.graph.initializer if tensor.name == name)
        value = numpy_helper.to_array(tensor).copy()
        change(value)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return plant


def _turn_first(value: NDArray[np.float32]) -> None:
    value[(0,) * value.ndim] *= -1


def _exchange_pairs(value: NDArray[np.float32]) -> None:
    """The first state of a section and the real one behind it, or two rows of a smaller one."""
    value[..., [0, -1]] = value[..., [-1, 0]]


def _quicken(value: NDArray[np.float32]) -> None:
    value *= 0.8


@pytest.mark.parametrize(
    ("kind", "layer", "constant", "fault"),
    [
        ("S4D", "layers.1", "c", _turn_first),
        ("S4D", "layers.0", "c", _exchange_pairs),
        ("S4D", "layers.1", "a", _quicken),
        ("S4D", "layers.0", "d", _turn_first),
        slow("S4, low rank", "blocks.1.layer", "a", _quicken),
        slow("S4, both directions", "blocks.0.layer.anticausal", "c", _turn_first),
        slow("S5", "blocks.0.s5", "output", _exchange_pairs),
        slow("LRU", "units.0", "output", _turn_first),
        ("quadratic outputs", "layers.0.lru", "output", _turn_first),
        slow("long convolutions", "blocks.1.filter.conv", "c", _turn_first),
    ],
)
def test_fault_in_a_layer_fails_its_checks_and_no_others(
    case: Callable[[str], Case],
    tmp_path: Path,
    kind: str,
    layer: str,
    constant: str,
    fault: Callable[[NDArray[np.float32]], None],
) -> None:
    changed = case(kind).changed(tmp_path / "offline.onnx", wrong(f"{layer}.block.{constant}", fault))
    names = failed(changed)
    assert f"block.{layer}" in names
    assert {f"impulse.{layer}", f"frequency.{layer}"} & names
    assert names <= {f"block.{layer}", f"impulse.{layer}", f"frequency.{layer}"}


@pytest.mark.parametrize(
    ("kind", "layer", "constant"),
    [("S4D", "layers.1", "c"), slow("S5", "blocks.1.s5", "input"), ("quadratic outputs", "layers.1.lru", "a")],
)
def test_fault_that_brings_a_layer_nearer_to_the_original_fails_its_block(
    case: Callable[[str], Case], tmp_path: Path, kind: str, layer: str, constant: str
) -> None:
    made = case(kind)
    changed = made.changed(tmp_path / "offline.onnx", wrong(f"{layer}.block.{constant}", _turn_first))
    pack = made.pack.layers[layer]
    # Nearer than the built block can be: the original is what the fault makes of it.
    there = measure(Layer(changed.offline, changed.model.layer_inputs[layer], changed.model.layers[layer]), pack, made.pack)
    layers = {**made.pack.layers, layer: dataclasses.replace(pack, original=there)}
    responses = dataclasses.replace(made.pack, layers=layers)
    assert failed(dataclasses.replace(made.subject, responses=responses)) == set()
    assert failed(dataclasses.replace(changed, responses=responses)) == {f"block.{layer}"}


def test_wrong_square_fails_the_block(case: Callable[[str], Case], tmp_path: Path) -> None:
    changed = case("quadratic outputs").changed(tmp_path / "offline.onnx", wrong("layers.0.lru.block.mixing", _turn_first))
    assert failed(changed) == {"block.layers.0.lru"}


def test_small_fault_in_one_channel_fails_the_block(case: Callable[[str], Case], tmp_path: Path) -> None:
    def touch(value: NDArray[np.float32]) -> None:
        value[0] *= 1.01

    changed = case("S4D").changed(tmp_path / "offline.onnx", wrong("layers.1.block.c", touch))
    assert "block.layers.1" in failed(changed)


def test_every_call_of_a_layer_has_its_checks(case: Callable[[str], Case], tmp_path: Path) -> None:
    made = case("called twice")
    assert {"impulse.layer", "impulse.layer@2"} <= set(results(made.subject))
    changed = made.changed(tmp_path / "offline.onnx", wrong("layer.block.c", _turn_first))
    assert {"block.layer", "block.layer@2"} <= failed(changed)


def test_graph_that_does_not_tell_its_layers_fails_where_the_pack_knows_them(case: Callable[[str], Case], tmp_path: Path) -> None:
    def forget(graph: onnx.ModelProto) -> None:
        (entry,) = (entry for entry in graph.metadata_props if entry.key == "ssm2edge.layers")
        graph.metadata_props.remove(entry)

    assert "impulse.layers.0" in failed(case("S4D").changed(tmp_path / "offline.onnx", forget))


def test_graph_that_cannot_be_opened_is_a_failure_and_no_exception(case: Callable[[str], Case], tmp_path: Path) -> None:
    (tmp_path / "offline.onnx").write_bytes(case("S4D").graph.read_bytes()[:-50])
    verdict = examine(dataclasses.replace(case("S4D").subject, offline=tmp_path / "offline.onnx"))
    assert "offline.parity" in {check.name for check in verdict.failures}


def test_without_a_pack_there_are_no_such_checks(case: Callable[[str], Case]) -> None:
    assert results(dataclasses.replace(case("S4D").subject, responses=None)) == {}
