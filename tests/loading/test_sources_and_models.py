"""What a user hands in becomes a Source, a model with its weights, and checked samples."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.loading import Signature, load_model, open_source
from tests.model_directories import load_samples, model_directory, samples, tiny_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return model_directory(tmp_path / "model")


def test_directory_is_read_as_written(directory: Path) -> None:
    source = open_source(str(directory))
    assert (source.factory, source.arguments) == ("model.py:make", {"channels": 4, "states": 6, "layers": 2})
    assert (source.weights, source.samples) == (directory / "weights.safetensors", directory / "samples.npz")
    assert (source.time_axis, source.metric, source.defaults) == (1, "accuracy", {"order": 6, "calibrate": "none"})


FRONT_END = '[front_end]\nkind = "log-mel"\nsample_rate = 16000\nwindow = 400\nhop = 160\nmels = 40\nspan = 98\n'


def with_task(directory: Path, task: str, front_end: str = "") -> Path:
    file = directory / "build.toml"
    file.write_text(file.read_text().replace('metric = "accuracy"', f'metric = "accuracy"\n{task}\n') + front_end)
    return directory


def test_classes_and_front_end_become_the_task(directory: Path) -> None:
    source = open_source(str(with_task(directory, 'classes = ["a", "b"]', FRONT_END)))
    front_end = {"kind": "log-mel", "sample_rate": 16000, "window": 400, "hop": 160, "mels": 40, "span": 98}
    assert source.task == {"metric": "accuracy", "classes": ["a", "b"], "front_end": front_end}
    assert open_source(str(directory), metric="nrmse").task == {**source.task, "metric": "nrmse"}


@pytest.mark.parametrize(
    ("task", "front_end", "said"),
    [
        ('classes = ["a", "a"]', "", "different names"),
        ("classes = [1, 2]", "", "different names"),
        ("", FRONT_END.replace("log-mel", "wavelet"), "wavelet"),
        ("", FRONT_END.replace("hop = 160\n", ""), "front_end.hop"),
        ("", FRONT_END.replace("hop = 160", "hop = 0"), "at least 1"),
        ("", FRONT_END + "floor = 1.0\n", "front_end.floor"),
    ],
)
def test_faults_of_task_and_front_end_are_told(directory: Path, task: str, front_end: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_source(str(with_task(directory, task, front_end)))


def test_options_win_over_the_directory(directory: Path, tmp_path: Path) -> None:
    source = open_source(str(directory), weights=tmp_path / "w", samples=tmp_path / "s", time_axis=2)
    assert (source.weights, source.samples, source.time_axis, source.metric) == (tmp_path / "w", tmp_path / "s", 2, "accuracy")


def test_the_current_directory_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    assert open_source(".").given == str(directory.resolve())
    assert open_source("..//" + directory.name).given == "..//" + directory.name


def test_factory_with_options_is_a_source(directory: Path) -> None:
    source = open_source(f"{directory}/model.py:make", directory / "weights.safetensors", directory / "samples.npz")
    assert (source.directory, source.factory, source.time_axis, source.metric) == (directory, "model.py:make", 1, None)


def test_hashes_are_of_the_files_bytes(directory: Path) -> None:
    hashes = open_source(str(directory)).hashes()
    assert set(hashes) == {"build.toml", "model.py", "weights.safetensors", "samples.npz"}
    for name, digest in hashes.items():
        assert digest == hashlib.sha256((directory / name).read_bytes()).hexdigest()


def test_hashes_are_of_imported_files_too(directory: Path) -> None:
    (directory / "parts").mkdir()
    (directory / "parts" / "__init__.py").write_text("")
    (directory / "parts" / "blocks_of_a_test.py").write_text((directory / "model.py").read_text())
    (directory / "model.py").write_text("from parts.blocks_of_a_test import make\n")
    source = open_source(str(directory))
    load_model(source)
    before = source.hashes()
    assert {"model.py", "parts/blocks_of_a_test.py"} < set(before)
    assert not any("torch" in name or "ssm2edge/" in name for name in before)
    with (directory / "parts" / "blocks_of_a_test.py").open("a") as file:
        file.write("# changed\n")
    after = source.hashes()
    assert [name for name in before if before[name] != after[name]] == ["parts/blocks_of_a_test.py"]


def test_model_has_its_weights_and_is_in_eval_mode(directory: Path) -> None:
    torch.manual_seed(5)
    before = list(sys.path)
    model = load_model(open_source(str(directory)))
    assert sys.path == before
    assert not model.training
    expected = tiny_model().state_dict()
    assert list(model.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert Signature.of(model).needed == ("pixels",)


@pytest.mark.parametrize("wrapped", [False, True])
def test_torch_files_of_plain_weights_load(directory: Path, wrapped: bool) -> None:
    state = tiny_model(seed=3).state_dict()
    torch.save({"state_dict": state, "epoch": 3} if wrapped else OrderedDict(state), directory / "weights.pt")
    model = load_model(open_source(str(directory), weights=directory / "weights.pt"))
    assert torch.equal(model.state_dict()["decoder.weight"], state["decoder.weight"])


class Checkpoint(dict):  # type: ignore[type-arg]  # what a training framework pickles
    """A class that weights-only loading refuses."""


def test_pickles_need_trust(directory: Path) -> None:
    state = tiny_model(seed=3).state_dict()
    torch.save(Checkpoint(state_dict=state), directory / "weights.pt")
    source = open_source(str(directory), weights=directory / "weights.pt")
    with pytest.raises(UserError, match="--trust-pickle"):
        load_model(source)
    model = load_model(open_source(str(directory), weights=directory / "weights.pt", trust_pickle=True))
    assert torch.equal(model.state_dict()["decoder.weight"], state["decoder.weight"])


def test_factory_may_import_its_neighbours_and_hold_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_factory.py").write_text("WIDTH = 7\n")
    (tmp_path / "code.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "from neighbour_of_factory import WIDTH\n@dataclass\nclass Size:\n    width: int = WIDTH\n"
        "def make():\n    return nn.Linear(Size().width, 1)\n"
    )
    source = open_source(f"{tmp_path}/code.py:make", samples=tmp_path / "samples.npz")
    assert load_model(source).get_parameter("weight").shape == (1, 7)


def test_what_a_later_torch_has_in_place_of_the_models_layers_is_not_said(directory: Path) -> None:
    """A build has nothing to mend in the model's code, and its progress stays readable."""
    code = "import torch, warnings\n\n"
    code += "def normed(**arguments):\n    return torch.nn.utils.weight_norm(make(**arguments).decoder)\n"
    code += 'warnings.warn("imported", FutureWarning)\n'
    (directory / "model.py").write_text((directory / "model.py").read_text() + code)
    source = replace(open_source(str(directory)), factory="model.py:normed", weights=None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert isinstance(load_model(source), nn.Linear)
    assert [str(warning.message) for warning in said if issubclass(warning.category, FutureWarning)] == []


def test_factory_may_be_in_an_installed_module(tmp_path: Path) -> None:
    model = load_model(open_source("torch.nn:Identity", samples=tmp_path / "samples.npz"))
    assert isinstance(model, nn.Identity)


def test_inputs_are_the_arguments_without_default() -> None:
    class Two(nn.Module):
        def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
            return left + right * scale

    class Any_(nn.Module):
        def forward(self, *values: Tensor) -> Tensor:
            return values[0]

    assert Signature.of(Two()).needed == ("left", "right")
    with pytest.raises(UserError, match="variable number"):
        Signature.of(Any_())


def test_samples_are_read_and_cast(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    values = samples()
    values["held_out.pixels"] = values["held_out.pixels"].astype(np.float64)
    np.savez(path, **values)
    read = load_samples(path, Signature(("pixels",)), 1)
    assert (read.calibration["pixels"].dtype, read.held_out["pixels"].dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(read.held_out["pixels"], values["held_out.pixels"].astype(np.float32))
    np.testing.assert_array_equal(read.labels[""], values["labels"])


def test_one_input_needs_no_name_and_tokens_stay_integers(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, held_out=np.ones((2, 5), np.uint8))
    read = load_samples(path, Signature(("tokens",)), 1)
    assert read.held_out["tokens"].dtype == np.int64
    assert (dict(read.calibration), dict(read.labels)) == ({}, {})


def test_inputs_come_in_the_order_of_the_arguments_whatever_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    parts = {
        f"{part}.{name}": np.full((2, 5), value) for part in ("held_out", "calibration") for name, value in (("b", 2), ("a", 1))
    }
    np.savez(path, **parts)
    read = load_samples(path, Signature(("a", "b")), 1)
    for values in (read.held_out, read.calibration):
        assert [(name, int(value[0, 0])) for name, value in values.items()] == [("a", 1), ("b", 2)]


def test_inputs_of_another_length_are_refused_unless_they_are_said_to_be_static(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, **{"held_out.signal": np.ones((2, 5, 1)), "held_out.subject": np.ones((2, 3))})
    takes = Signature(("signal", "subject"))
    with pytest.raises(UserError, match=r"held_out\.subject has 3 steps along the time axis 1, held_out.signal has 5") as told:
        load_samples(path, takes, 1)
    assert "repeat at every step what does not change" in str(told.value)
    assert dict(load_samples(path, takes, 1, static=["subject"]).axes) == {"signal": 1, "subject": None}
    with pytest.raises(UserError, match="no input speaker"):
        load_samples(path, takes, 1, static=["speaker"])


def test_inputs_of_fewer_axes_do_not_run_along_time(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, **{"held_out.lengths": np.array([5, 3]), "held_out.signal": np.ones((2, 5, 1))})
    read = load_samples(path, Signature(("lengths", "signal")), 1)
    assert dict(read.axes) == {"lengths": None, "signal": 1}
    assert read.length == 5


class Spelled(nn.Module):
    """A forward of every kind of argument."""

    def forward(self, x: Tensor, mask: Tensor | None = None, *, lengths: Tensor, scale: float = 1.0, **others: Tensor) -> Tensor:
        return x


class OfABatch(nn.Module):
    """A forward of a dictionary, and of an option."""

    def forward(self, batch: dict[str, Tensor], mask: Tensor | None = None) -> Tensor:
        return batch["x"]


@pytest.mark.parametrize(
    ("model", "given", "args", "kwargs"),
    [
        (Spelled(), ("lengths", "x"), ["x"], {"lengths": "lengths"}),
        (Spelled(), ("x", "lengths", "mask"), ["x"], {"lengths": "lengths", "mask": "mask"}),
        (Spelled(), ("speaker", "x", "lengths"), ["x"], {"lengths": "lengths", "speaker": "speaker"}),
        (OfABatch(), ("x", "y"), [{"x": "x", "y": "y"}], {}),
        (OfABatch(), ("y", "mask", "x"), [{"y": "y", "x": "x"}, "mask"], {}),
    ],
)
def test_samples_fill_the_arguments_of_their_names(
    model: nn.Module, given: tuple[str, ...], args: list[object], kwargs: dict[str, object]
) -> None:
    arguments = Signature.of(model).fill(given)
    assert arguments is not None
    assert arguments.filled(arguments.names) == (args, kwargs)


def test_samples_that_no_argument_takes_are_refused(tmp_path: Path) -> None:
    class OfATensor(nn.Module):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return x

    path = tmp_path / "samples.npz"
    for names, said in (
        (("x", "y"), "has the key 'held_out.y'; expected are"),
        (("y",), "has the key 'held_out.y'"),
        (("mask",), "lacks held_out.x"),
    ):
        np.savez(path, **{f"held_out.{name}": np.ones((2, 5, 1)) for name in names})
        with pytest.raises(UserError, match=said):
            load_samples(path, Signature.of(OfATensor()), 1)


def test_labels_are_of_the_outputs_that_they_name(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    arrays = {"held_out.u": np.ones((2, 5, 1)), "labels.digit": np.array([0, 1]), "labels.power": np.ones((2, 5, 1))}
    np.savez(path, **arrays)
    read = load_samples(path, Signature(("u",)), 1, {"power": "nrmse"})
    assert {name: value.dtype.kind for name, value in read.labels.items()} == {"digit": "i", "power": "f"}
    with pytest.raises(UserError, match=r"labels\.power are floating-point numbers .* say so with --metric power=nrmse"):
        load_samples(path, Signature(("u",)), 1)
    np.savez(path, **(arrays | {"labels.digit": np.array([0, 1, 1])}))
    with pytest.raises(UserError, match=r"labels\.digit has shape \(3,\)"):
        load_samples(path, Signature(("u",)), 1, {"power": "nrmse"})
