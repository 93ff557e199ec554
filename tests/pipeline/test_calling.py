"""Models as people write them: what they are called with, what they answer, and the names of both in the artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import ssm2edge
from ssm2edge.artifact import open_artifact
from ssm2edge.cli import main
from ssm2edge.runtime import Model, Stream
from tests import calling_models as models
from tests.calling_models import LENGTH, samples
from tests.slow_cases import slow_but

pytestmark = pytest.mark.usefixtures("brief_latencies")


@dataclass(frozen=True)
class Idiom:
    """One way to write a model.

    Attributes
    ----------
    model
        Its class.
    inputs
        Kind of each input, see :func:`tests.calling_models.samples`.
    call
        Calls it as its user does, and gives its outputs the names that they should have.
    streams
        Whether it runs block by block.
    options
        Of the build.
    """

    model: type[nn.Module]
    inputs: Mapping[str, str]
    call: Callable[[Any, Mapping[str, Tensor]], Mapping[str, Tensor]]
    streams: bool = True
    options: tuple[str, ...] = field(default=())


def of_a_batch(model: nn.Module, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    answer = model(dict(x))
    return {"output.signal": answer["signal"], "masked_mean": answer["masked mean"], "output.mask": answer["mask"]}


def dictionary(model: nn.Module, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    answer = model(x["signal"])
    inner = answer["layers"]
    return {
        "logits": answer["logits"],
        "layers.first": inner["first"],
        "layers.all.0": inner["all"][0],
        "layers.all.1": inner["all"][1],
    }


def of_a_library(model: nn.Module, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    answer = model(**x)
    hidden = answer["hidden_states"]
    return {"logits": answer[0], "hidden_states.0": hidden[0], "hidden_states.1": hidden[1]}


def nested(model: nn.Module, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    logits, (_, (z, mean)), _ = model(x["signal"])
    return {"output.0": logits, "output.1.1.0": z, "output.1.1.1": mean}


IDIOMS = {
    "keywords": Idiom(
        models.Keywords, {"gain": "steps", "offset": "steps", "signal": "signal"}, lambda m, x: {"output": m(**x)}
    ),
    "option": Idiom(
        models.Options, {"signal": "signal", "mask": "mask"}, lambda m, x: {"output": m(x["signal"], mask=x["mask"])}
    ),
    "option left out": Idiom(models.Options, {"signal": "signal"}, lambda m, x: {"output": m(x["signal"])}),
    "any keyword": Idiom(models.AnyKeyword, {"signal": "signal", "gain": "steps"}, lambda m, x: {"output": m(**x)}),
    "a batch": Idiom(models.OfABatch, {"mask": "mask", "signal": "signal"}, of_a_batch, options=("--calibrate", "none")),
    "a dictionary": Idiom(models.Dictionary, {"signal": "signal"}, dictionary),
    "a dataclass": Idiom(models.Dataclass, {"signal": "signal"}, lambda m, x: {
        "logits": m(x["signal"]).logits, "features": m(x["signal"]).features,
    }),
    "a library's": Idiom(models.OfALibrary, {"attention_mask": "mask", "input_values": "signal"}, of_a_library),
    "a named tuple": Idiom(models.Named, {"signal": "signal"}, lambda m, x: m(x["signal"])._asdict()),
    "nested": Idiom(models.Nested, {"signal": "signal"}, nested),
    "a state": Idiom(models.WithState, {"signal": "signal"}, lambda m, x: {"output": m(x["signal"])[0]}),
    "bits": Idiom(models.Masked, {"mask": "bits", "signal": "signal"}, lambda m, x: {"output": m(**x)}),
    "lengths, mean": Idiom(
        models.MeanOfLengths, {"signal": "signal", "lengths": "lengths"}, lambda m, x: {"output": m(**x)}
    ),
    "lengths, last": Idiom(
        models.LastOfLengths, {"lengths": "lengths", "signal": "signal"}, lambda m, x: {"output": m(**x)}, streams=False
    ),
    "a speaker": Idiom(
        models.OfASpeaker, {"signal": "signal", "speaker": "vector"}, lambda m, x: m(**x), options=("--static", "speaker")
    ),
}  # fmt: skip


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def build(place: Path, model: str, *options: str, order: int = 4, **arrays: np.ndarray) -> Result:
    np.savez(place / "samples.npz", **arrays)
    given = ("--samples", place / "samples.npz", "--out", place / "built", "--order", order, "--method", "balanced")
    return call("build", f"tests.calling_models:{model}", *given, *options)


@pytest.mark.parametrize("name", slow_but([], IDIOMS))
def test_models_keep_their_way_of_being_called_and_the_names_of_their_answers(tmp_path: Path, name: str) -> None:
    idiom = IDIOMS[name]
    arrays = samples(**idiom.inputs)
    made = build(tmp_path, idiom.model.__name__, *idiom.options, **arrays)
    assert made.exit_code == 0, made.output
    inputs = {key: arrays[f"held_out.{key}"] for key in idiom.inputs}
    with torch.no_grad():
        answers = idiom.call(idiom.model().eval(), {key: torch.from_numpy(value) for key, value in inputs.items()})
    wanted = {key: value.numpy() for key, value in answers.items()}
    artifact = open_artifact(tmp_path / "built")
    assert [layer.name for layer in artifact.manifest.layers] == ["layer"]
    assert artifact.manifest.layers[0].order_after == 4
    assert list(artifact.reference.original) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(artifact.reference.original[key], value, rtol=1e-5, atol=1e-6)
    with Model(tmp_path / "built") as model:
        assert {port.name for port in model.inputs} == set(inputs)
        assert [port.name for port in model.outputs] == list(wanted)
        found = model.run(inputs)
        for key, value in wanted.items():
            assert np.abs(found[key] - value).max() < 1e-3 * np.abs(value).max()
        axes = {port.name: port.time_axis for port in (*model.inputs, *model.outputs)}
    assert artifact.manifest.streaming.available == idiom.streams
    if not idiom.streams:
        assert "The model cannot stream" in str(artifact.manifest.streaming.reason)
        return
    with Stream(tmp_path / "built", len(inputs["signal" if "signal" in inputs else "input_values"])) as stream:
        parts = [
            stream.push({key: x if axes[key] is None else x[:, step : step + 1] for key, x in inputs.items()})
            for step in range(LENGTH)
        ]
    for key, value in wanted.items():
        streamed = parts[-1][key] if axes[key] is None else np.concatenate([part[key] for part in parts], axes[key])
        assert np.abs(streamed - value).max() < 1e-3 * np.abs(value).max()
    verified = call("verify", tmp_path / "built")
    assert verified.exit_code == 0, verified.output


def heads() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Samples, and labels of all heads; some are not what the model says."""
    arrays = samples(signal="signal")
    with torch.no_grad():
        answer = models.Heads().eval()(torch.from_numpy(arrays["held_out.signal"]))
    digits, speakers = answer["digit"].argmax(-1).numpy(), answer["speaker"].argmax(-1).numpy()
    digits[0] = (digits[0] + 1) % models.DIGITS
    speakers[:, ::6] = (speakers[:, ::6] + 1) % models.SPEAKERS
    power = answer["power"].numpy() + np.random.default_rng(1).standard_normal(answer["power"].shape).astype(np.float32)
    return arrays, {"labels.digit": digits, "labels.speaker": speakers, "labels.power": power}


METRICS = ("--metric", "accuracy", "--metric", "power=nrmse")


@pytest.mark.slow
def test_every_head_is_judged_by_its_metric_and_shown(tmp_path: Path) -> None:
    arrays, labels = heads()
    made = build(tmp_path, "Heads", *METRICS, **arrays, **labels)
    assert made.exit_code == 0, made.output
    artifact = open_artifact(tmp_path / "built")
    metrics = {"digit": "accuracy", "speaker": "accuracy", "power": "nrmse"}
    assert artifact.manifest.task == {"metric": "accuracy", "metrics": metrics}
    judged = artifact.manifest.heads
    assert set(judged) == {"digit", "speaker", "power"}
    original = artifact.reference.original["power"].astype(np.float64)
    error = np.sqrt(np.mean((original - labels["labels.power"]) ** 2)) / np.std(labels["labels.power"].astype(np.float64))
    wanted = {"digit": 5 / 6, "speaker": 20 / 24, "power": error}
    for head, value in wanted.items():
        assert judged[head].original == pytest.approx(value, rel=1e-6)
    assert artifact.manifest.accuracy == judged["digit"]
    told = json.loads(call("verify", tmp_path / "built", "--json").stdout)
    names = {check["name"] for check in told["checks"]}
    assert {"accuracy.digit", "accuracy.speaker", "nrmse.power"} <= names
    assert not {"accuracy", "nrmse"} & names
    for head in wanted:
        assert head in made.stdout
    page = (tmp_path / "built" / "report.html").read_text()
    for title in ("Accuracy of digit", "Accuracy of speaker", "NRMSE of power"):
        assert title in page


@pytest.mark.slow
def test_one_head_reads_as_before(tmp_path: Path) -> None:
    arrays, labels = heads()
    assert build(tmp_path, "Heads", **arrays, **{"labels": labels["labels.digit"]}).exit_code == 0
    manifest = json.loads((tmp_path / "built" / "manifest.json").read_text())
    assert "heads" not in manifest
    assert "heads" not in manifest["parity"]
    assert manifest["accuracy"]["original"] == pytest.approx(5 / 6)
    with np.load(tmp_path / "built" / "reference.npz") as pack:
        assert [key for key in pack.files if key.startswith("labels")] == ["labels"]


@pytest.mark.slow
def test_a_gate_holds_for_every_head(tmp_path: Path) -> None:
    arrays, labels = heads()
    for name, order in (("base", 4), ("worse", 1)):
        (tmp_path / name).mkdir()
        assert build(tmp_path / name, "Heads", *METRICS, "--calibrate", "none", order=order, **arrays, **labels).exit_code == 0
    (tmp_path / "policy.toml").write_text("[accuracy]\npoints = 0.1\n")
    told = call("check", tmp_path / "worse" / "built", "--baseline", tmp_path / "base" / "built", "--json")
    gates = {gate["name"]: gate["outcome"] for gate in json.loads(told.stdout)["gates"]}
    assert {"accuracy.digit", "accuracy.speaker", "nrmse.power"} <= set(gates)
    assert gates["nrmse.power"] == "regression"


@pytest.mark.slow
def test_a_largest_drop_holds_for_every_head(tmp_path: Path) -> None:
    arrays, labels = heads()
    shape = (1200, *arrays["held_out.signal"].shape[1:])
    arrays["validation.signal"] = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        answer = models.Heads().eval()(torch.from_numpy(arrays["validation.signal"]))
    judged = {f"labels.{name}": answer[name].argmax(-1).numpy() for name in ("digit", "speaker")}
    judged["labels.power"] = answer["power"].numpy()
    orders = {}
    for name in ("digit", "power"):
        (tmp_path / name).mkdir()
        given = {key: value for key, value in labels.items() if name == "power" or key == "labels.digit"}
        chosen_by = {f"validation_{key}": judged[key] for key in given}
        np.savez(tmp_path / name / "samples.npz", **arrays, **given, **chosen_by)
        place = ("--samples", tmp_path / name / "samples.npz", "--out", tmp_path / name / "built")
        made = call("build", "tests.calling_models:Heads", *place, "--max-drop", "0.5", "--method", "balanced", *METRICS)
        assert made.exit_code == 0, made.output
        artifact = open_artifact(tmp_path / name / "built")
        orders[name] = artifact.manifest.layers[0].order_after
    power = artifact.manifest.heads["power"]
    assert 100 * (power.artifact - power.original) <= 0.5 + 0.01
    assert orders["digit"] <= orders["power"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels.digits": np.zeros(6, np.int64)}, "no output digits; its outputs are digit, speaker, power"),
        ({"labels.speaker": np.zeros((6, LENGTH - 1), np.int64)}, f"labels.speaker are classes of shape ({LENGTH - 1},)"),
        ({"labels.speaker": np.zeros(5, np.int64)}, "labels.speaker has shape (5,)"),
        ({"labels.digit": np.full(6, 5)}, "labels.digit reach from 5 to 5"),
        ({"labels": np.zeros(6, np.int64)}, "labels and labels.digit judge the same output"),
    ],
)
def test_labels_of_heads_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, np.ndarray], said: str) -> None:
    arrays, labels = heads()
    made = build(tmp_path, "Heads", *METRICS, **(arrays | labels | change))
    assert made.exit_code == 2
    assert said in made.stderr
    assert made.stderr.count("\n") == 1


def test_metrics_that_there_are_not_are_refused(tmp_path: Path) -> None:
    arrays, labels = heads()
    assert build(tmp_path, "Heads", "--metric", "digit=beauty", **arrays, **labels).exit_code == 2
    made = build(tmp_path, "Heads", *METRICS, "--metric", "digits=accuracy", **arrays, **labels)
    assert made.exit_code == 2
    assert "a metric of digits, but the model's outputs are digit, speaker, power" in made.stderr


class Answering(models.Core):
    """Answers with what a test puts here."""

    answer: Callable[[Tensor], Any] = staticmethod(lambda z: z)

    def forward(self, signal: Tensor) -> Any:
        return type(self).answer(self.states(signal))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda z: "no tensor", "returned a str"),
        (lambda z: None, "returned nothing"),
        (lambda z: {"loss": 1.0}, "returned a dict without tensors"),
        (lambda z: {"y": z, "cache": object()}, "returned a object as cache"),
        (lambda z: {"y": z, "frequencies": z[0, :, 0]}, f"with a tensor of shape ({LENGTH},)"),
    ],
)
def test_answers_that_are_no_tensors_of_the_sequences_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Tensor], Any], said: str
) -> None:
    monkeypatch.setattr(models, "Answering", Answering, raising=False)
    monkeypatch.setattr(Answering, "answer", staticmethod(answer))
    made = build(tmp_path, "Answering", **samples(signal="signal"))
    assert made.exit_code == 2
    assert said in made.stderr
    assert made.stderr.count("\n") == 1


@pytest.mark.slow
def test_models_in_memory_keep_their_way_of_being_called(tmp_path: Path) -> None:
    model = models.OfABatch().eval()
    given = {key.partition(".")[2]: value for key, value in samples(signal="signal", mask="mask").items() if "calib" in key}
    small = ssm2edge.compress(model, given, order=4, method="balanced")
    batch = {key: torch.from_numpy(value) for key, value in given.items()}
    with torch.no_grad():
        wanted, found = model(batch), small(batch)
    assert isinstance(small, models.OfABatch)
    assert list(found) == list(wanted)
    torch.testing.assert_close(found["masked mean"], wanted["masked mean"], rtol=1e-3, atol=1e-4)
    built = ssm2edge.build(small, given, tmp_path / "built", original=model)
    np.testing.assert_allclose(built.run(given)["masked_mean"], wanted["masked mean"].numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_heads_of_a_model_in_memory_are_judged(tmp_path: Path) -> None:
    arrays, labels = heads()
    named = {key.partition(".")[2]: value for key, value in labels.items()}
    built = ssm2edge.build(
        models.Heads().eval(), arrays["calibration.signal"], tmp_path / "built", held_out=arrays["held_out.signal"], labels=named,
        metric={"": "accuracy", "power": "nrmse"}, order=4, method="balanced",
    )  # fmt: skip
    assert {head: found.original for head, found in built.manifest.heads.items()} == pytest.approx(
        {"digit": 5 / 6, "speaker": 20 / 24, "power": built.manifest.heads["power"].original}
    )
