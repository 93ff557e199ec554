"""Faults planted in a whole artifact, sealed anew so that no hash gives them away: the check that is made for each finds it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from ssm2edge.artifact import LAYER, PROBES, Manifest, Reference, open_artifact, seal
from ssm2edge.runtime import Model
from ssm2edge.verification import Subject, examine
from tests.command_line import call
from tests.model_directories import BUILD, LENGTH, model_directory, samples, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_latencies")]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sound")
    source = model_directory(place / "model", BUILD.replace("order = 6", "order = 1"))
    # Labels that the original gets right, but for one.
    given = samples()
    with torch.no_grad():
        labels = tiny_model()(torch.from_numpy(given["held_out.pixels"])).argmax(1).numpy()
    labels[3] = (labels[3] + 1) % 10
    np.savez(source / "samples.npz", **(given | {"labels": labels}))
    result = call("build", source, "--out", place / "out", "--json")
    assert result.exit_code == 0, result.output
    return place / "out"


@pytest.fixture
def artifact(sound: Path, tmp_path: Path) -> Path:
    """A copy to plant faults in."""
    shutil.copytree(sound, tmp_path / "artifact")
    return tmp_path / "artifact"


def sealed(directory: Path, change: Callable[[Manifest], Manifest] = lambda manifest: manifest) -> Path:
    """The directory with a manifest whose hashes are those of the files that are there now."""
    manifest = Manifest(**{**vars(open_manifest_unchecked(directory)), "files": {}})
    (directory / "manifest.json").unlink()
    seal(directory, change(manifest))
    return directory


def open_manifest_unchecked(directory: Path) -> Manifest:
    from ssm2edge.artifact import open_manifest

    return open_manifest(directory / "manifest.json")


def change_graph(directory: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    graph = onnx.load(directory / name)
    change(graph)
    onnx.save(graph, directory / name)


def failed(directory: Path) -> dict[str, str]:
    result = call("verify", directory, "--json")
    assert result.exit_code in (0, 1), result.output
    return {check["name"]: check["detail"] for check in json.loads(result.stdout)["checks"] if not check["passed"]}


def wrong_coefficients(layer: str) -> Callable[[onnx.ModelProto], None]:
    """The coefficients of one layer, too large by a half."""

    def change(graph: onnx.ModelProto) -> None:
        touched = 0
        for tensor in graph.graph.initializer:
            if tensor.name == f"{layer}.block.c":
                values = numpy_helper.to_array(tensor).copy()
                values *= 1.5
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                touched += 1
        assert touched == 1

    return change


def test_sound_artifact_passes_and_tells_errors_layer_by_layer(sound: Path) -> None:
    result = call("verify", sound, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = {check["name"] for check in found["checks"]}
    assert {"offline.probes", "layers.parity", "bound.certified", "streaming.probes"} <= names
    assert [layer["name"] for layer in found["layers"]] == ["layers.0", "layers.1"]
    for layer in found["layers"]:
        assert layer["parity"] < 1e-5 < 1e-3 < layer["error"] < 1.0
    table = call("verify", sound).stdout
    assert "Errors layer by layer" in table


def test_layer_outputs_in_the_pack_are_those_of_an_independent_recursion(sound: Path) -> None:
    """The pack against poles and coefficients read from the graph, on what the graph itself feeds the first layer."""
    graph = onnx.load(sound / "offline.onnx")
    tensors = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.graph.initializer}
    a, b, c, d = (tensors[f"layers.0.block.{name}"] for name in "abcd")
    artifact = open_artifact(sound)
    assert artifact.probes is not None
    values = Model(sound).layers
    assert list(values) == ["layers.0", "layers.1"]
    normalised = next(node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization")
    with Model(sound, exposed=(normalised,)) as model:
        u = model.run(dict(artifact.probes.inputs))[normalised].astype(np.float64)
    # One section of two states holds a pole and answers with the real part; a real pole fills a state of its own.
    weights, poles = c * (1.0 + 1j * (b != 0)), a - 1j * b
    later = np.stack([(weights * poles**k).real.sum(-1) for k in range(LENGTH - 1)])
    response = np.concatenate([d[None], later])
    expected = np.zeros_like(u)
    for k in range(LENGTH):
        expected[:, k] = np.einsum("jh,bjh->bh", response[k::-1], u[:, : k + 1])
    recorded = artifact.probes.reduced[f"{LAYER}layers.0"]
    kept = np.linspace(0, LENGTH - 1, recorded.shape[1]).round().astype(int)
    np.testing.assert_allclose(recorded, expected[:, kept], atol=1e-5 * np.abs(expected).max())


def test_wrong_coefficient_in_one_layer_is_found_in_that_layer(artifact: Path) -> None:
    for name in ("offline.onnx", "stream.onnx"):
        graph = onnx.load(artifact / name)
        if any(tensor.name == "layers.1.block.c" for tensor in graph.graph.initializer):
            change_graph(artifact, name, wrong_coefficients("layers.1"))
    found = failed(sealed(artifact))
    assert {"layers.parity", "offline.parity", "offline.probes"} <= set(found)
    assert found["layers.parity"].endswith("the first that is off is layers.1")
    named = {name for name in found if name.startswith(("impulse", "frequency", "block"))}
    assert named == {"impulse.layers.1", "frequency.layers.1", "block.layers.1"}


def test_fault_in_the_first_layer_is_not_blamed_on_the_second(artifact: Path) -> None:
    change_graph(artifact, "offline.onnx", wrong_coefficients("layers.0"))
    assert failed(sealed(artifact))["layers.parity"].endswith("the first that is off is layers.0")


def test_drift_in_the_stream_fails_it(artifact: Path) -> None:
    def drift(graph: onnx.ModelProto) -> None:
        for node in graph.graph.node:
            for index, output in enumerate(node.output):
                if output == "next.layers.0":
                    node.output[index] = "undrifted"
        graph.graph.initializer.append(numpy_helper.from_array(np.array(1.0001, np.float32), "drift"))
        graph.graph.node.append(helper.make_node("Mul", ["undrifted", "drift"], ["next.layers.0"]))

    change_graph(artifact, "stream.onnx", drift)
    assert "streaming.carried" in failed(sealed(artifact))


def test_swapped_states_fail_the_stream(artifact: Path) -> None:
    def swap(graph: onnx.ModelProto) -> None:
        for entry in graph.metadata_props:
            if entry.key == "ssm2edge.states":
                states: list[dict[str, Any]] = json.loads(entry.value)
                first, second = (state for state in states if "layers." in state["input"])
                first["output"], second["output"] = second["output"], first["output"]
                entry.value = json.dumps(states)

    change_graph(artifact, "stream.onnx", swap)
    assert "streaming.fresh" in failed(sealed(artifact))


def test_shuffled_labels_fail_accuracy(artifact: Path) -> None:
    pack = open_artifact(artifact).reference
    dataclasses.replace(pack, labels={"output": np.random.default_rng(0).permutation(pack.labels["output"])}).save(artifact)
    assert "accuracy" in failed(sealed(artifact))


def test_outputs_beyond_their_certified_bound_fail_it(sound: Path) -> None:
    artifact = open_artifact(sound)
    subject = dataclasses.replace(Subject.of(artifact), bound={"certified": {"value": 1e-9, "horizon": None}})
    assert [check.name for check in examine(subject).failures] == ["bound.certified"]
    short = dataclasses.replace(subject, bound={"certified": {"value": 1e-9, "horizon": LENGTH - 1}})
    assert "bound.certified" not in {check.name for check in examine(short).checks}


def test_layer_output_that_is_no_number_is_named(sound: Path) -> None:
    artifact = open_artifact(sound)
    pack = artifact.probes
    assert pack is not None
    spoilt = {name: np.full_like(value, np.nan) if name == f"{LAYER}layers.1" else value for name, value in pack.reduced.items()}
    subject = dataclasses.replace(Subject.of(artifact), probes=Reference(pack.inputs, pack.original, spoilt))
    verdict = examine(subject)
    assert [check.name for check in verdict.failures] == ["layers.parity"]
    assert verdict.layers[1].parity is None
    json.dumps(verdict.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["offline.onnx", "stream.onnx", "reference.npz", PROBES, "responses.npz"])
@pytest.mark.parametrize("command", ["verify", "check"])
def test_damaged_file_fails_integrity_by_name(artifact: Path, name: str, command: str) -> None:
    path, content = artifact / name, (artifact / name).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        path.write_bytes(damaged)
        result = call(command, artifact, *(("--baseline", artifact) if command == "check" else ()))
        assert result.exit_code == 2
        assert "integrity failed" in result.stderr
        assert name in result.stderr


@pytest.mark.parametrize("command", ["verify", "check"])
def test_older_schema_fails_integrity(artifact: Path, command: str) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    (artifact / "manifest.json").write_text(json.dumps(manifest | {"schema": manifest["schema"] - 1}))
    result = call(command, artifact, *(("--baseline", artifact) if command == "check" else ()))
    assert result.exit_code == 2
    assert "integrity failed" in result.stderr
    assert "schema" in result.stderr
