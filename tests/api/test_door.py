"""The door: compress, build, inspect and open in the user's own process."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ssm2edge
from ssm2edge.layers import S5, blocks
from ssm2edge.options import TABLE, Options, check_options
from tests.model_directories import Built

pytestmark = pytest.mark.usefixtures("brief_latencies")

SAMPLES, LENGTH = 64, 24


class Net(nn.Module):
    """Two features in, three scores out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 6)
        self.ssm = S5(6, 6)
        self.decoder = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.decoder(nn.functional.gelu(self.ssm(self.encoder(x))).mean(1))
        return scores


@pytest.fixture(scope="module")
def model() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def samples() -> Tensor:
    return torch.randn(SAMPLES, LENGTH, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(SAMPLES) % 3


@pytest.fixture(scope="module")
def built(model: Net, samples: Tensor, labels: Tensor, tmp_path_factory: pytest.TempPathFactory) -> ssm2edge.Artifact:
    out = tmp_path_factory.mktemp("door") / "out"
    return ssm2edge.build(model, samples, out, labels=labels, order=4, method="balanced", calibrate="none")


def graphs(artifact: ssm2edge.Artifact) -> list[bytes]:
    return [(artifact.directory / name).read_bytes() for name in ("offline.onnx", "stream.onnx")]


def test_a_compressed_model_is_the_users_module_with_blocks(model: Net, samples: Tensor) -> None:
    before = copy.deepcopy(model.state_dict())
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none")
    assert type(small) is Net
    assert small.training == model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    kept = {name for name in small.state_dict() if not name.startswith("ssm.")}
    assert kept == {name for name in before if not name.startswith("ssm.")}
    assert all(torch.equal(small.state_dict()[name], before[name]) for name in kept)
    (block,) = blocks(small).values()
    assert block.order == 4
    assert block.origin is not None
    assert (block.origin.order_before, block.origin.method, block.origin.outcome) == (12, "balanced", "converged")
    assert 0 < block.origin.h2_error < 1
    assert "order=4 of 12" in repr(small)


def test_a_compressed_model_is_copied_saved_and_loaded(model: Net, samples: Tensor, tmp_path: Path) -> None:
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none")
    torch.save(small, tmp_path / "whole.pt")
    torch.save(small.state_dict(), tmp_path / "state.pt")
    again = ssm2edge.compress(model, samples, order=4, method="last", calibrate="none")
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    copies = [copy.deepcopy(small), torch.load(tmp_path / "whole.pt", weights_only=False), again]
    assert all(torch.equal(one(samples), small(samples)) for one in copies)


def test_a_compressed_model_trains_on(model: Net, samples: Tensor, labels: Tensor) -> None:
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none")
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(small(samples), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in blocks(small)["ssm"].parameters())


def test_precision_mode_and_hooks_are_the_originals(model: Net, samples: Tensor) -> None:
    double = copy.deepcopy(model).double().eval()
    seen: list[Tensor] = []
    double.ssm.register_forward_hook(lambda module, given, answer: seen.append(answer))
    small = ssm2edge.compress(double, samples, order=12)
    assert {value.dtype for value in small.parameters()} == {torch.float64}
    assert not any(module.training for module in small.modules())
    seen.clear()  # hooks may change answers, so they are called while the model is compressed, too
    answer = small(samples.double())
    assert len(seen) == 1
    assert answer.dtype == torch.float64
    torch.testing.assert_close(answer, double(samples.double()), rtol=1e-4, atol=1e-5)
    # Weights outside of the layers have not passed through float32.
    assert torch.equal(small.state_dict()["encoder.weight"], double.encoder.weight)


def test_without_samples_layers_are_reduced_for_white_input(model: Net) -> None:
    assert blocks(ssm2edge.compress(model, order=4))["ssm"].order == 4
    assert blocks(ssm2edge.compress(model, keep=0.5))["ssm"].order == 6
    with pytest.raises(ssm2edge.UserError, match="found on samples"):
        ssm2edge.compress(model, max_error=0.1)


class Pairs(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A map-style dataset."""

    def __init__(self, samples: Tensor, labels: Tensor) -> None:
        self.samples, self.labels = samples, labels

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.samples[index], self.labels[index]


def in_batches(samples: Tensor) -> Iterator[Tensor]:
    yield from samples.split(10)


def forms(samples: Tensor, labels: Tensor, place: Path) -> dict[str, tuple[Any, Any]]:
    """Samples and labels in every form that there is."""
    held = np.arange(SAMPLES) % 4 == 3
    np.savez(place / "s.npz", calibration=samples[~held], held_out=samples[held], labels=labels[held])
    return {
        "array": (samples.numpy(), labels.numpy()),
        "dictionary": ({"x": samples}, {"": labels}),
        "tuple": ((samples,), labels),
        "tuple with labels": ((samples, labels), None),
        "DataLoader": (DataLoader(TensorDataset(samples, labels), batch_size=7), None),
        "Dataset": (Pairs(samples, labels), None),
        "generator": (in_batches(samples), labels.tolist()),
        "list of dictionaries": ([{"x": samples[:30]}, {"x": samples[30:]}], labels),
        "file": (place / "s.npz", None),
    }


FORMS = (
    "array", "dictionary", "tuple", "tuple with labels", "DataLoader", "Dataset", "generator", "list of dictionaries", "file",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_samples_in_any_form_are_the_same_samples(model: Net, samples: Tensor, labels: Tensor, tmp_path: Path, form: str) -> None:
    from ssm2edge.loading import arrays_in_memory

    expected = arrays_in_memory(samples, None, labels, ["x"])
    given, told = forms(samples, labels, tmp_path)[form]
    found = arrays_in_memory(given, None, told, ["x"])
    plain = {key.partition(".")[0]: value for key, value in found.items()}
    assert set(plain) == {"calibration", "held_out", "labels"}
    assert all(np.array_equal(plain[key.partition(".")[0]], value) for key, value in expected.items())


def test_an_artifact_answers_as_the_compressed_model(built: ssm2edge.Artifact, model: Net, samples: Tensor) -> None:
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none").eval()
    with torch.no_grad():
        expected = small(samples).numpy()
    np.testing.assert_allclose(built.run(samples)["output"], expected, rtol=1e-4, atol=1e-5)
    with built.stream(batch=SAMPLES) as stream:
        streamed = stream.push(samples.numpy())["output"]
    np.testing.assert_allclose(streamed, expected, rtol=1e-4, atol=1e-5)


def test_an_opened_artifact_is_the_built_one(built: ssm2edge.Artifact, samples: Tensor) -> None:
    opened = ssm2edge.open(built.directory)
    assert opened.manifest == built.manifest
    assert np.array_equal(opened.run({"x": samples})["output"], built.run(samples.numpy())["output"])
    verified = opened.verify()
    assert verified.passed
    assert not verified.failures
    assert {check.name for check in verified.checks} > {"integrity", "offline.parity", "streaming.carried", "accuracy"}
    compared = opened.compare(built)
    assert compared.exit_code in (0, 3)


def test_results_show_themselves(built: ssm2edge.Artifact, model: Net, samples: Tensor) -> None:
    for shown, text in ((built, "12 to 4"), (built.verify(), "passed"), (ssm2edge.inspect(model, samples), "order 12")):
        assert text in str(shown)
        html = shown._repr_html_()
        assert html.startswith("<pre")
        assert text in html
    assert str(built.directory) in repr(built)


@pytest.mark.slow
def test_command_line_and_api_give_the_same_bytes(model: Net, samples: Tensor, labels: Tensor, tmp_path: Path) -> None:
    from tests.model_directories import model_directory

    source = model_directory(tmp_path / "model")
    command = [
        sys.executable,
        "-m",
        "ssm2edge.cli",
        "build",
        str(source),
        "--out",
        str(tmp_path / "cli"),
        "--order",
        "3",
        "--json",
    ]
    told = subprocess.run([*command, "--method", "balanced"], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["manifest"]["options"]["order"] == 3
    api = ssm2edge.build(source, out=tmp_path / "api" / "out", order=3, method="balanced")
    for name in ("offline.onnx", "stream.onnx", "reference.npz", "probes.npz", "responses.npz"):
        assert (tmp_path / "cli" / name).read_bytes() == (api.directory / name).read_bytes(), name


@pytest.mark.slow
def test_a_compressed_model_is_built_as_it_is(
    built: ssm2edge.Artifact, model: Net, samples: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none")
    against = ssm2edge.build(small, samples, tmp_path / "against", labels=labels, original=model)
    assert graphs(against) == graphs(built)
    (layer,), (first,) = against.manifest.layers, built.manifest.layers
    assert (layer.name, layer.order_before, layer.order_after) == ("ssm", 12, 4)
    assert layer.h2_error_relative == pytest.approx(first.h2_error_relative)
    assert against.manifest.accuracy == built.manifest.accuracy
    # Trained on, it is another model than the one it came from, and the artifact is that of the trained one.
    with torch.no_grad():
        small.decoder.bias += 1.0  # type: ignore[operator]  # a Linear's
    alone = ssm2edge.build(small, samples, tmp_path / "alone", block=4)
    np.testing.assert_allclose(alone.run(samples)["output"], small(samples).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert [layer.order_after for layer in alone.manifest.layers] == [4]


def test_progress_is_reported_stage_by_stage(model: Net, samples: Tensor) -> None:
    seen: list[tuple[str, float]] = []
    ssm2edge.compress(model, samples, order=4, calibrate="spectrum", progress=lambda stage, share: seen.append((stage, share)))
    assert [stage.split()[0] for stage, _ in seen][:2] == ["load", "reduce"]
    assert any(stage.startswith("calibrate") for stage, _ in seen)


class Uncopied(Net):
    """Keeps a lock."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = threading.Lock()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"order": 4, "depth": 3}, "There is no option depth"),
        ({"order": 40}, "has 12 states per channel"),
        ({"order": 4, "calibrate": "labels"}, "There is no calibration 'labels'"),
        ({"order": 4, "samples": []}, "iterable of samples is empty"),
        ({"order": 4, "samples": 5}, "Samples are a int"),
        ({"order": 4, "samples": (torch.zeros(9, 8, 2),) * 3}, "has 3 parts, but the model takes x"),
        ({"order": 4, "samples": [torch.zeros(2, 8, 2), torch.zeros(2, 9, 2)]}, "do not fit together"),
        ({"order": 4, "samples": torch.zeros(16, 8, 2), "labels": [0, 1]}, "16 samples and 2 labels"),
        ({"order": 4, "samples": {"y": torch.zeros(9, 8, 2)}}, "y"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(model: Net, samples: Tensor, arguments: Any, sentence: str) -> None:
    with pytest.raises(ssm2edge.UserError, match=sentence):
        ssm2edge.compress(model, **{"samples": samples, **arguments})


def test_what_cannot_be_built_is_refused_in_one_sentence(model: Net, samples: Tensor, tmp_path: Path) -> None:
    small = ssm2edge.compress(model, samples, order=4, method="balanced", calibrate="none")
    with pytest.raises(ssm2edge.UserError, match="has its orders already"):
        ssm2edge.build(small, samples, tmp_path / "out", order=2)
    with pytest.raises(ssm2edge.UserError, match="directory to make"):
        ssm2edge.build(model, samples)
    with pytest.raises(ssm2edge.UserError, match="cannot be copied"):
        ssm2edge.build(Uncopied(), samples, tmp_path / "out")
    with pytest.raises(ssm2edge.UserError, match="the original has the layers"):
        ssm2edge.build(small, samples, tmp_path / "out", original=nn.Sequential(S5(2, 4)))
    with pytest.raises(ssm2edge.UserError, match="brings labels"):
        ssm2edge.build("models/digits", out=tmp_path / "out", labels=[1])
    with pytest.raises(ssm2edge.Error):
        ssm2edge.open(tmp_path / "nothing")
    assert not (tmp_path / "out").exists()


def test_every_error_has_one_base() -> None:
    from ssm2edge.artifact import ArtifactError
    from ssm2edge.bounds import BoundError
    from ssm2edge.runtime import EdgeError, InputError
    from ssm2edge.traced import ExportError

    for error in (ssm2edge.UserError, ssm2edge.VerificationError, ArtifactError, BoundError, EdgeError, InputError, ExportError):
        assert issubclass(error, ssm2edge.Error)


class Noisy(Net):
    """Dropout that stays on."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5)


class OfTheBatch(Net):
    """Answers relative to the other rows."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores - scores.mean(0)


class Unstored(Net):
    """Normalised by the batch at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        scores: Tensor = self.norm(self.decoder(self.ssm(z)).mT).mean(2)
        return scores


class Alone(Net):
    """Answers a single row otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return 3 * scores if x.shape[0] == 1 else scores


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        (Noisy, {}, r"changes from run to run .*aten\.\w+\S* at .*test_door\.py:\d+, which draws random numbers"),
        (OfTheBatch, {}, "depends on the other samples of its batch"),
        (Unstored, {}, r"depends on the other samples of its batch .* in norm \(BatchNorm1d\)"),
        (Alone, {}, "depends on the other samples of its batch"),
        (Net, {"samples": None}, "needs samples"),
        (Net, {"time_axis": 0}, "time axis is 0"),
        (Net, {"time_axis": "1"}, "time axis is '1'"),
        (Net, {"classes": "abc"}, "list of their names"),
        (Net, {"classes": ["a", "b"]}, "names of 2 classes, but the model scores 3"),
        (Net, {"order": -1}, "order of -1 keeps no state"),
        (Net, {"order": "8"}, "order is '8'; it must be a whole number"),
        (Net, {"order": 2.5}, "order is 2.5; it must be a whole number"),
        (Net, {"order": True}, "order is True; it must be a whole number"),
        (Net, {"plan": "x"}, "plan is 'x'; it must be a table of names and texts"),
        (Net, {"max_loss": 1.0}, "largest loss needs labels"),
        (Net, {"samples": {"x": torch.zeros(9, 8, 2), "gain": torch.zeros(8)}}, "unequal numbers"),
        (lambda: Net, {}, "model is a type"),
        (lambda: None, {}, "model is a NoneType"),
    ],
)
def test_faults_are_met_before_anything_is_reduced(
    kind: Any, arguments: dict[str, Any], sentence: str, samples: Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    given = {"samples": samples, "order": 4, "method": "balanced", "calibrate": "none", **arguments}
    with pytest.raises(ssm2edge.UserError, match=sentence):
        ssm2edge.build(kind(), out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_numbers_of_numpy_are_numbers(model: Net) -> None:
    assert blocks(ssm2edge.compress(model, order=np.int64(4)))["ssm"].order == 4


def test_code_in_memory_is_part_of_what_results_depend_on() -> None:
    from ssm2edge.cache import bytecode, key_of

    first, second, other = (
        type("Net", (nn.Module,), {"forward": forward}) for forward in (lambda s, x: x, lambda s, x: x, lambda s, x: -x)
    )
    assert key_of(bytecode(first())) == key_of(bytecode(first()))
    assert key_of(bytecode(first())) != key_of(bytecode(other()))
    holder = second()
    holder.forward = lambda x: x.clamp(-1, 1)
    assert key_of(bytecode(second())) != key_of(bytecode(holder))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_value_of_the_wrong_type_is_refused_in_words(name: str) -> None:
    words = re.compile(r"; it must be [a-z ]+\.$")
    with pytest.raises(ssm2edge.UserError, match=words) as refused:
        check_options(Options(**{name: object()}))
    for kind in (int, float, str, bool, dict):
        assert not re.search(rf"must be .*\b{kind.__name__}\b", str(refused.value))


def test_samples_of_a_type_that_numpy_lacks_are_refused(tiny_build: Built) -> None:
    with pytest.raises(ssm2edge.Error, match="bfloat16"):
        ssm2edge.open(tiny_build.place / "deep" / "out").run(torch.zeros(1, 8, 1, dtype=torch.bfloat16))
