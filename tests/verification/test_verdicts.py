"""A sound artifact passes every check; every planted fault fails the check that is named after it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ssm2edge.artifact import ArtifactError, LayerRecord, Reference, open_artifact
from ssm2edge.artifact.manifest import to_json
from ssm2edge.verification import Check, Limits, Subject, Verdict, examine, verify
from ssm2edge.verification.check import relative_error
from ssm2edge.verification.stability import count_subnormal
from tests.first_order import Change, build, filtered, reference


def failed(directory: Path, **arguments: Limits) -> set[str]:
    return {check.name for check in verify(directory, **arguments).failures}  # type: ignore[arg-type]


def multiply_output(name: str, factor: float) -> Change:
    """A graph whose named output comes out multiplied."""

    def change(graph: onnx.ModelProto) -> None:
        for node in graph.graph.node:
            for index, output in enumerate(node.output):
                if output == name:
                    node.output[index] = f"{name} before"
        graph.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "planted"))
        graph.graph.node.append(helper.make_node("Mul", [f"{name} before", "planted"], [name]))

    return change


def swap_states(graph: onnx.ModelProto) -> None:
    """The filter's state and the running sum, of one shape, exchange their successors."""
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    states = json.loads(properties["ssm2edge.states"])
    states[0]["output"], states[1]["output"] = states[1]["output"], states[0]["output"]
    helper.set_model_props(graph, properties | {"ssm2edge.states": json.dumps(states)})


def leak_between_rows(graph: onnx.ModelProto) -> None:
    """Every row's filter state becomes the mean over the batch."""
    for node in graph.graph.node:
        for index, output in enumerate(node.output):
            if output == "next.filter":
                node.output[index] = "own"
    graph.graph.node.append(helper.make_node("ReduceMean", ["own", "axis_zero"], ["over rows"], keepdims=1))
    graph.graph.node.append(helper.make_node("Shape", ["own"], ["extent"]))
    graph.graph.node.append(helper.make_node("Expand", ["over rows", "extent"], ["next.filter"]))


def wrong_gain(graph: onnx.ModelProto) -> None:
    """One channel's input gain is one per mille off."""
    for tensor in graph.graph.initializer:
        if tensor.name == "W":
            gains = numpy_helper.to_array(tensor).copy()
            gains[0, 1] *= 1.001
            tensor.CopyFrom(numpy_helper.from_array(gains, "W"))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("block", [1, 4, 16])
def test_sound_artifact_passes(tmp_path: Path, mean: bool, block: int) -> None:
    seen: list[str] = []
    verdict = verify(build(tmp_path / "build", mean=mean, block=block), progress=seen.append)
    assert verdict.passed, verdict.failures
    names = [check.name for check in verdict.checks]
    assert {"integrity", "stability.poles", "offline.parity", "streaming.fresh", "streaming.carried"} <= set(names)
    assert len(names) == len(set(names))
    assert ("accuracy" in names) == mean
    assert set(seen) >= set(names) - {"integrity", "accuracy"}
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["passed"] is True


def test_model_that_cannot_stream_is_verified_without_a_stream(tmp_path: Path) -> None:
    verdict = verify(build(tmp_path / "build", streams=False))
    assert verdict.passed
    assert not any(check.name.startswith("streaming") for check in verdict.checks)


def test_unpublished_folder_is_examined_like_a_published_one(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    pack = open_artifact(directory).reference
    verdict = examine(Subject.staged(directory, pack, {"filter": 0.97}))
    assert verdict.passed
    assert [check.name for check in verdict.checks] == [check.name for check in verify(directory).checks][1:]
    assert examine(Subject.staged(directory, pack, {"filter": 1.0})).failures[0].name == "stability.poles"


def test_accuracies_are_those_of_the_labels(tmp_path: Path) -> None:
    # The pack's labels differ from the oracle's answers in three of twelve samples.
    accuracy = verify(build(tmp_path / "build")).accuracy
    assert accuracy is not None
    assert (accuracy.original, accuracy.artifact, accuracy.samples) == (0.75, 0.75, 12)


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("state", ["next.filter", "next.sum"])
def test_drift_of_a_state_fails_streaming(tmp_path: Path, block: int, state: str) -> None:
    names = failed(build(tmp_path / "build", block=block, change_stream=multiply_output(state, 1.0001)))
    assert "streaming.carried" in names
    assert not any(name.startswith("offline") for name in names)


def test_swapped_states_fail_streaming(tmp_path: Path) -> None:
    assert "streaming.fresh" in failed(build(tmp_path / "build", change_stream=swap_states))


def test_rows_that_mix_fail_their_check(tmp_path: Path) -> None:
    assert "streaming.rows" in failed(build(tmp_path / "build", change_stream=leak_between_rows))


def test_wrong_residue_fails_parity(tmp_path: Path) -> None:
    names = failed(build(tmp_path / "build", change_offline=wrong_gain, change_stream=wrong_gain))
    assert names == {"offline.parity"}
    assert "streaming.fresh" in failed(build(tmp_path / "other", change_stream=wrong_gain))


def test_states_left_subnormal_fail_silence(tmp_path: Path) -> None:
    assert failed(build(tmp_path / "build", flush=False, mean=False)) == {"stability.silence"}


def test_slow_state_that_would_become_subnormal_after_millions_of_samples_fails_silence(tmp_path: Path) -> None:
    def slow(graph: onnx.ModelProto) -> None:
        for tensor in graph.graph.initializer:
            if tensor.name == "R":
                tensor.CopyFrom(numpy_helper.from_array(np.float32(0.99999) * np.eye(3, dtype=np.float32)[None], "R"))

    for flush in (True, False):
        directory = build(tmp_path / str(flush), flush=flush, mean=False, change_offline=slow, change_stream=slow)
        assert ("stability.silence" in failed(directory)) is not flush


def test_states_that_grow_in_silence_fail_it(tmp_path: Path) -> None:
    assert "stability.silence" in failed(build(tmp_path / "build", change_stream=multiply_output("next.filter", 1.2)))


def test_outputs_that_are_no_numbers_fail(tmp_path: Path) -> None:
    verdict = verify(build(tmp_path / "build", change_offline=multiply_output("output", float("nan"))))
    assert {"offline.parity", "offline.error", "offline.lengths", "streaming.fresh"} <= {c.name for c in verdict.failures}
    json.dumps(verdict.to_json(), allow_nan=False)


def test_graph_that_cannot_run_fails_the_check_and_not_the_program(tmp_path: Path) -> None:
    def four_channels(graph: onnx.ModelProto) -> None:
        graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 4

    names = failed(build(tmp_path / "build", change_offline=four_channels))
    assert "offline.parity" in names


def test_shuffled_labels_fail_accuracy(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    pack = open_artifact(directory).reference
    recorded = open_artifact(directory).manifest.accuracy
    assert recorded is not None
    shuffled = dataclasses.replace(pack, labels={"output": np.random.default_rng(1).permutation(pack.labels["output"])})
    subject = Subject(directory / "offline.onnx", None, shuffled, {}, {"output": recorded})
    assert {check.name for check in examine(subject).failures} == {"accuracy"}


def test_loss_of_accuracy_is_in_points_and_has_its_limit(tmp_path: Path) -> None:
    original = reference(True, samples=100)
    # The original answers all of 100 samples right, the artifact answers the oracle's: 75 of them.
    better = np.eye(3, dtype=np.float32)[original.labels["output"]]
    pack = Reference(original.inputs, {"output": better}, original.reduced, original.labels)
    directory = build(tmp_path / "build", pack=pack)
    subject = Subject.staged(directory, pack, {}, Limits(drop=24.9))
    (check,) = examine(subject).failures
    assert check.name == "accuracy"
    assert check.figure == pytest.approx(25.0)
    # Paired: 25 lost, 0 gained, so the standard error is sqrt(25 - 25^2 / 100) / 100.
    margin = 1.96 * np.sqrt(25 - 6.25)
    assert f"{25 - margin:.2f} to {25 + margin:.2f}" in check.detail
    assert examine(Subject.staged(directory, pack, {}, Limits(drop=25.0))).passed


def test_unstable_pole_in_the_manifest_fails(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    manifest = open_artifact(directory).manifest
    layer: LayerRecord = dataclasses.replace(manifest.layers[0], spectral_radius=1.0)
    (directory / "manifest.json").write_text(to_json(dataclasses.replace(manifest, layers=(layer,))))
    assert failed(directory) == {"stability.poles"}


def test_sequences_shorter_than_a_block_are_not_passed_unseen(tmp_path: Path) -> None:
    assert "streaming.fresh" in failed(build(tmp_path / "build", block=64))


def test_changed_file_is_no_verdict_but_an_error(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    path = directory / "stream.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match=r"stream\.onnx"):
        verify(directory)


def test_relative_error_is_of_the_largest_magnitude() -> None:
    wanted = {"a": np.array([1.0, -4.0]), "b": np.zeros(2)}
    assert relative_error({"a": np.array([1.0, -4.0]), "b": np.zeros(2)}, wanted) == 0.0
    assert relative_error({"a": np.array([1.5, -4.0]), "b": np.zeros(2)}, wanted) == pytest.approx(0.125)
    assert relative_error({"a": np.array([1.0, np.nan]), "b": np.zeros(2)}, wanted) == np.inf
    assert relative_error({"a": np.array([1.0]), "b": np.zeros(2)}, wanted) == np.inf
    assert relative_error({"a": np.array([1.0, -4.0])}, wanted) == np.inf
    assert relative_error({"a": np.array([1.0, -4.0]), "b": np.array([0, 1e-9])}, wanted) > 1.0


def test_an_output_that_is_almost_nothing_is_measured_by_its_usual_size() -> None:
    wanted, usual = {"a": np.array([1e-30, 1e-31])}, {"a": np.array([1e-3, 0.0])}
    found = {"a": np.array([2e-30, 1e-31])}
    assert relative_error(found, wanted) == pytest.approx(1.0)
    assert relative_error(found, wanted, usual) < 1e-20
    # What is larger than usual is measured by itself.
    assert relative_error({"a": np.array([3.0])}, {"a": np.array([2.0])}, {"a": np.array([1e-3])}) == pytest.approx(0.5)


def test_subnormals_are_counted_by_their_bits() -> None:
    smallest = np.finfo(np.float32).tiny
    values = np.array([0.0, -0.0, smallest, -smallest, smallest / 2, -1e-45, 1.0, np.inf, np.nan], np.float32)
    assert count_subnormal(values) == 2
    assert count_subnormal(values.reshape(3, 3).T) == 2
    assert count_subnormal(np.array([5e-324, 1.0])) == 1
    assert count_subnormal(np.array([1, 2])) == 0


def test_verdict_fails_if_any_check_does() -> None:
    good, bad = Check("a", 0.0, 1.0, True, ""), Check("b", 2.0, 1.0, False, "")
    assert Verdict((good,)).passed
    assert not Verdict((good, bad)).passed
    assert Verdict((good, bad)).failures == (bad,)


def test_oracle_of_these_tests_is_the_recursion() -> None:
    impulse = np.zeros((1, 4, 1), np.float32)
    impulse[0, 0] = 1.0
    np.testing.assert_allclose(filtered(impulse, False)[0, :, 1], [1.0, -0.5, 0.25, -0.125], rtol=1e-6)
