"""`--precision`: integers in both graphs, the rounded model in PyTorch, and nothing else changed."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import save_file
from torch import nn

import ssm2edge
from models.digits import model as digits
from ssm2edge.artifact import WeightRecord
from ssm2edge.cache import Store
from ssm2edge.calibration import Calibrated
from ssm2edge.errors import UserError
from ssm2edge.layers import blocks
from ssm2edge.loading import open_source
from ssm2edge.options import Options, bytes_of, check_options
from ssm2edge.original.task import Task
from ssm2edge.quantisation import halve, round_weights, weights_of
from ssm2edge.quantisation.grid import grid_of
from ssm2edge.stages.budgets import excess_of
from ssm2edge.stages.compress import compress, compressed_already
from ssm2edge.stages.load import load
from ssm2edge.stages.progress import silent
from ssm2edge.stages.quantise import RELAXED, set_apart, weight_records, with_precision
from ssm2edge.stages.reduce import judged_of, reducer_of
from ssm2edge.stages.resolve import resolve
from tests.command_line import call
from tests.model_directories import BUILD, model_directory

pytestmark = pytest.mark.usefixtures("brief_latencies")

CHANNELS = 8


def make() -> nn.Module:
    torch.manual_seed(1)
    return digits.make(channels=CHANNELS, states=8, layers=2).eval()


def signals(count: int = 24) -> torch.Tensor:
    return torch.randn(count, 24, 1, generator=torch.Generator().manual_seed(3))


def on_grid(model: nn.Module, bits: int) -> list[str]:
    return [name for name, one in weights_of(model).items() if grid_of(one.matrix().float().numpy(), bits) is not None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = BUILD.replace("channels = 4, states = 6", f"channels = {CHANNELS}, states = 8")
    directory = model_directory(tmp_path_factory.mktemp("precision") / "model", build.replace("order = 6", "order = 2"))
    save_file(make().state_dict(), directory / "weights.safetensors")
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "kind"), [("int8", TensorProto.INT8), ("int4", TensorProto.UINT8)])
def test_a_build_stores_integers_and_verifies(source: Path, tmp_path: Path, precision: str, kind: int) -> None:
    out = tmp_path / "out"
    result = call("build", source, "--out", out, "--precision", precision, "--calibrate", "match", "--calibration-steps", "3")
    assert result.exit_code == 0, result.output
    for name in ("offline", "stream"):
        graph = onnx.load(out / f"{name}.onnx")
        stored = [value for value in graph.graph.initializer if value.data_type == kind and value.name.endswith(".integers")]
        assert len(stored) == 3
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["precision"] == precision
    assert manifest["bound"] == {"available": False, "reason": "the weights are rounded, which the bound does not cover"}
    assert call("verify", out).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("calibrate", ["none", "spectrum", "match"])
def test_a_compressed_module_has_rounded_weights_and_the_original_stays(calibrate: str) -> None:
    model = make()
    before = copy.deepcopy(model.state_dict())
    small = ssm2edge.compress(model, signals(), order=2, calibrate=calibrate, calibration_steps=4, precision="int4")
    assert on_grid(small, 4) == list(weights_of(small)) == ["layers.0.output_linear.0.weight", "layers.1.output_linear.0.weight",
        "decoder.weight"]  # fmt: skip
    assert not on_grid(model, 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_auto_names_bits_and_reasons(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("build", source, "--out", out, "--precision", "auto", "--calibrate", "match", "--calibration-steps", "3")
    assert result.exit_code == 0, result.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["weights"]) == 3
    for weight in manifest["weights"]:
        assert weight["bits"] in (4, 8, 32)
        assert "bits deviate the outputs by" in weight["reason"]
    stored = manifest["costs"]["stream"]["weights"]
    graph = onnx.load(out / "stream.onnx")
    assert sum(stored.values()) == sum(len(value.raw_data) for value in graph.graph.initializer)


@pytest.mark.slow
def test_a_rounded_module_is_built_as_it_is(tmp_path: Path) -> None:
    model, x = make(), signals()
    small = ssm2edge.compress(model, x, order=2, calibrate="match", calibration_steps=4, precision="int8")
    with torch.no_grad():
        expected = small(x[:4]).numpy()
    built = ssm2edge.build(small, x, tmp_path / "out", original=model, precision="int8")
    np.testing.assert_allclose(built.run(x[:4].numpy())["output"], expected, atol=2e-3 * float(np.abs(expected).max()))


@pytest.mark.slow
def test_blocks_are_matched_with_rounded_weights_around_them() -> None:
    model, x = make(), signals()
    found = [
        blocks(ssm2edge.compress(model, x, order=2, calibrate="match", calibration_steps=30, precision=precision))
        for precision in ("float32", "int4")
    ]
    assert any(not torch.equal(block.system().C, found[1][name].system().C) for name, block in found[0].items())


def test_weights_that_are_too_small_for_integers_are_recorded_where_none_became_any() -> None:
    small, large = nn.Linear(8, 4), nn.Linear(16, 16)
    options = Options(order=2, precision="int8")
    (record,) = weight_records(nn.Sequential(small), options, {})
    assert (record.name, record.bits, record.numbers) == ("0.weight", 32, 32)
    assert record.reason == "fewer than 64 numbers, or than 4 in a row"
    halve(small.parameters())
    assert [record.bits for record in weight_records(nn.Sequential(small), options, {})] == [16]
    round_weights(weights_of(large), {"weight": 8}, {})
    assert [record.name for record in weight_records(nn.Sequential(small, large), options, {})] == ["1.weight"]
    assert not weight_records(nn.Sequential(small), Options(order=2), {})


def test_records_say_what_graphs_store() -> None:
    """A weight of zeros fits into 3 bits, but is too small for their nodes; an odd number of integers of 4 bits takes bytes."""
    silent_one, odd = nn.Linear(16, 16), nn.Linear(39, 3)
    nn.init.zeros_(silent_one.weight)
    model = nn.Sequential(silent_one, odd)
    round_weights(weights_of(model), {"0.weight": 4, "1.weight": 4}, {})
    records = weight_records(model, Options(order=2, precision="int4"), {})
    assert [(record.name, record.bits) for record in records] == [("0.weight", 4), ("1.weight", 8)]
    (reason, _) = [record.reason for record in weight_records(model, Options(order=2, precision="auto"), {})]
    assert reason == "without calibration, auto takes 8 bits at most, where they save bytes"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_module_that_does_not_hold_integers_times_steps_is_refused(kind: torch.dtype) -> None:
    with pytest.raises(UserError, match=r"layers\.0\.output_linear\.0\.weight is b?float16, which does not hold .*model\.float"):
        ssm2edge.compress(make().to(kind), signals(), order=2, calibrate="none", precision="int4")


def test_a_bound_that_does_not_cover_rounding_is_refused() -> None:
    with pytest.raises(UserError, match="does not cover rounded weights"):
        check_options(Options(max_error=0.1, max_error_of="bound", precision="int8"))


@pytest.mark.slow
def test_a_budget_of_bytes_is_for_states_and_weights(source: Path, tmp_path: Path) -> None:
    manifests = []
    for name, budget in (("small", 25000), ("large", 26000)):
        out = tmp_path / name
        result = call("build", source, "--out", out, "--precision", "auto", "--calibrate", "match", "--calibration-steps", "3",
            "--max-bytes", budget)  # fmt: skip
        assert result.exit_code == 0, result.output
        assert max((out / f"{graph}.onnx").stat().st_size for graph in ("offline", "stream")) <= budget
        manifests.append(json.loads((out / "manifest.json").read_text()))
    for manifest in manifests:
        # Weights of few numbers are never rounded; a manifest without rounded weights lists them, too.
        large = [weight for weight in manifest["weights"] if weight["numbers"] >= 64]
        assert len(large) == 3
        assert all("for states and weights" in weight["reason"] for weight in large)
        assert all(weight["bits"] in (3, 4, 8, 32) for weight in manifest["weights"])
    stored = [sum(manifest["costs"]["offline"]["weights"].values()) for manifest in manifests]
    assert stored[0] < stored[1]


@pytest.mark.slow
def test_weights_keep_the_bits_that_were_chosen_before_a_training(source: Path) -> None:
    options = Options(order=2, precision="auto", calibrate="none")
    task, options, _ = resolve(load(open_source(str(source))), options)
    trained = compress(task, dataclasses.replace(options, precision="float32"), Store(None), silent).model
    name = "layers.0.output_linear.0.weight"
    chosen = (WeightRecord(name, 4, 128, "chosen"),)
    _, found = compressed_already(task, trained, options, chosen)
    assert on_grid(found.model, 8) == on_grid(found.model, 4) == [name]
    assert {record.name: record.bits for record in found.weights}[name] == 4
    assert next(record.reason for record in found.weights if record.name == name) == "chosen"


@pytest.mark.slow
def test_a_largest_drop_is_judged_after_rounding(source: Path) -> None:
    options = Options(max_drop=50.0, precision="int4", calibrate="match", calibration_steps=3)
    task, decided, _ = resolve(load(open_source(str(source))), options)
    store = Store(None)
    judged = judged_of(task, decided, reducer_of(task, store), store, silent)
    assert judged.finish is not None
    reductions = judged.reduce(task.systems, dict.fromkeys(task.systems, 2), "balanced", task.horizon)
    model = judged.finish(reductions)
    assert on_grid(model, 4) == list(weights_of(model))
    found = judged.answers(reductions)
    with torch.no_grad():
        expected = model(torch.from_numpy(next(iter(task.samples.validation.values())))).numpy()
    np.testing.assert_allclose(next(iter(found.values())), expected, atol=1e-5)


@pytest.mark.slow
def test_the_bytes_that_a_refusal_names_can_be_reached(source: Path, tmp_path: Path) -> None:
    """They are no more than those of float32, whose graphs are candidates, too."""
    named = {}
    for precision in ("auto", "float32"):
        asked = ("--precision", precision, "--calibrate", "match", "--calibration-steps", "3")
        refused = call("build", source, "--out", tmp_path / "none", "--max-bytes", 10, *asked)
        assert refused.exit_code == 2
        (figure,) = re.findall(r"the largest has ([\d,]+);", refused.stderr)
        named[precision] = int(figure.replace(",", ""))
        built = call("build", source, "--out", tmp_path / precision, "--max-bytes", named[precision], *asked)
        assert built.exit_code == 0, built.output
    assert named["auto"] <= named["float32"]


@pytest.mark.slow
def test_layers_are_rounded_further_only_while_the_graphs_are_too_large(source: Path) -> None:
    options = Options(max_bytes=30000, precision="auto", calibrate="match")
    task, decided, _ = resolve(load(open_source(str(source))), options)
    calibrated = Calibrated({name: layer.system for name, layer in task.layers.items()}, None)
    seen: list[nn.Module] = []

    def excess(model: nn.Module, looks: int) -> int:
        seen.append(model)
        return int(len(seen) != looks)

    for looks in (1, 2, len(RELAXED)):
        seen.clear()
        assert with_precision(task, decided, calibrated, partial(excess, looks=looks)) is seen[-1]
        assert len(seen) == looks
    seen.clear()
    model = with_precision(task, decided, calibrated, partial(excess, looks=0))
    assert len(seen) == len(RELAXED)
    assert all(block.coarse for block in blocks(model).values())


@pytest.mark.slow
def test_a_size_is_chosen_again_where_calibration_makes_its_graphs_too_large(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration is made to add 300 bytes to every graph."""
    grown, task = 300, load(open_source(str(source)))

    def larger(task: Task, options: Options) -> Callable[[nn.Module], int]:
        excess = excess_of(task, options)
        assert excess is not None
        return lambda model: excess(model) + grown

    task, loose, _ = resolve(task, Options(max_bytes=26000, precision="auto", calibrate="match", calibration_steps=3))
    found = compress(task, loose, Store(None), silent)
    limit = largest_graph_of(task, loose, found.model) + 1
    tight = dataclasses.replace(loose, max_bytes=limit)
    monkeypatch.setattr("ssm2edge.stages.compress.excess_of", larger)
    again = largest_graph_of(task, tight, compress(task, tight, Store(None), silent).model)
    assert again + grown <= limit


def largest_graph_of(task: Task, options: Options, model: nn.Module) -> int:
    """Bytes of the largest graph."""
    excess, limit = excess_of(task, options), bytes_of(options.max_bytes)
    assert excess is not None
    assert limit is not None
    return excess(model) + limit


def test_numbers_that_matching_tunes_differ_and_stay_in_16_bits() -> None:
    model = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.LayerNorm(32))
    round_weights(weights_of(model), {"1.weight": 8}, {})
    halve(parameter for name, parameter in model.named_parameters() if name != "1.weight")
    before = copy.deepcopy(model.state_dict())
    set_apart(model)
    after = model.state_dict()
    assert torch.equal(after["1.weight"], before["1.weight"])
    small = [value for name, value in after.items() if name != "1.weight"]
    assert all(torch.equal(value.half().float(), value) and bool((value != 0).all()) for value in small)
    assert not any(torch.equal(one, other) for place, one in enumerate(small) for other in small[:place])
