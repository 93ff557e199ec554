"""Layers that users register from their own code: the page's example as it stands, and readings that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import LayerError, find_layers, realise_layers
from ssm2edge.runtime import Model, Stream
from ssm2edge.systems.system import System, siso_bank
from tests.command_line import call
from tests.layer_answers import noise, relative
from tests.layers.filters import CHANNELS, Around, DampedFilter, Mixing, at_full_order, examples

pytestmark = pytest.mark.usefixtures("brief_latencies")

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"


def example() -> str:
    """The only block of Python in the page's section."""
    section = PAGE.read_text(encoding="utf-8").partition("## Your own library in five lines")[2].partition("\n## ")[0]
    return section.partition("```python\n")[2].partition("```")[0]


@pytest.mark.slow
def test_the_pages_example_is_built_to_a_verified_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(example(), encoding="utf-8")
    samples = np.random.default_rng(0).standard_normal((4, 50, 1)).astype(np.float32)
    np.savez(tmp_path / "s.npz", held_out=samples)
    out = tmp_path / "out"
    arguments = ["build", f"{tmp_path / 'model.py'}:make", "--samples", tmp_path / "s.npz", "--order", 1, "--out", out, "--json"]
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    manifest = json.loads((out / "manifest.json").read_text())
    (layer,) = manifest["layers"]
    assert (layer["name"], layer["library"], layer["order_before"], layer["realised"]) == ("filter", "registered", 1, None)
    names: dict[str, Any] = {}
    exec(compile(example(), "model.py", "exec"), names)
    with torch.no_grad():
        expected = names["make"]()(torch.from_numpy(samples)).numpy()
    with Model(out) as model:
        whole = model.run({"samples": samples})["output"]
    with Stream(out, 4) as stream:
        streamed = stream.push({"samples": samples})["output"]
    for actual in (whole, streamed):
        assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_library_takes_five_lines() -> None:
    library = example().partition("def system_of")[2].partition("\n\n\nclass")[0]
    assert len([line for line in library.splitlines() if line.strip()]) <= 5


def system_of(layer: nn.Module) -> System:
    """A damped cosine is half of each of two conjugate exponentials; its own first tap is feedthrough."""
    assert isinstance(layer, DampedFilter)
    decay, angle, gain, skip = (x.detach().double() for x in (layer.decay, layer.angle, layer.gain, layer.skip))
    poles = torch.exp(torch.complex(-decay, angle.abs()))
    poles = torch.stack((poles, poles.conj()), -1).flatten(-2)
    halves = (gain / 2).repeat_interleave(2, -1)
    return siso_bank(poles, halves * poles, skip + gain.sum(-1))


def test_registered_layers_compute_what_they_did() -> None:
    torch.manual_seed(0)
    model = Around(DampedFilter()).eval()
    known, reduced = at_full_order(model, registered={DampedFilter: system_of})
    (layer,) = find_layers(known)
    assert (layer.name, layer.library, layer.realised, layer.system.order) == ("inner", "registered", None, 6)
    u = noise(2, 128, 2)
    with torch.no_grad():
        assert relative(reduced(u), model(u)) < 1e-5


def test_what_a_registered_layer_adds_to_every_sample_stays() -> None:
    torch.manual_seed(1)

    class Shifted(DampedFilter):
        def forward(self, u: Tensor) -> Tensor:
            return super().forward(u) + 0.5

    model = Around(Shifted()).eval()
    _, reduced = at_full_order(model, registered={Shifted: system_of})
    u = noise(2, 128, 2)
    with torch.no_grad():
        assert relative(reduced(u), model(u)) < 1e-5


def off_by_one(layer: nn.Module) -> System:
    """The common mistake: C x[k+1] taken for C x[k]."""
    system = system_of(layer)
    return siso_bank(system.poles, system.residues / system.poles, system.D[:, 0, 0])


def half_of_each_pair(layer: nn.Module) -> System:
    """The other common mistake: the poles as the layer stores them, without their conjugates."""
    system = system_of(layer)
    return siso_bank(system.poles[:, ::2], 2 * system.residues[:, ::2], system.D[:, 0, 0])


def all_conjugates_last(layer: nn.Module) -> System:
    system = system_of(layer)
    order = [0, 2, 4, 1, 3, 5]
    return siso_bank(system.poles[:, order], system.residues[:, order], system.D[:, 0, 0])


def one_sided(layer: nn.Module) -> System:
    """Poles in pairs, the residue of each pair on one of them."""
    system = system_of(layer)
    residues = 2 * system.residues
    residues[:, 1::2] = 0
    return siso_bank(system.poles, residues, system.D[:, 0, 0])


def failing(layer: nn.Module) -> System:
    raise KeyError("no such weight")


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (off_by_one, "returned another system than inner computes (relative difference"),
        (lambda layer: system_of(layer)[:2], "returned a system of 2 inputs for inner, which has 4"),
        (half_of_each_pair, "must return complex poles in pairs"),
        (all_conjugates_last, "must return complex poles in pairs"),
        (one_sided, "must return complex poles in pairs"),
        (lambda layer: None, "for inner it returned a NoneType"),
        (failing, "fails on inner (KeyError"),
    ],
)
def test_wrong_readings_are_refused(reader: Any, said: str) -> None:
    torch.manual_seed(2)
    with pytest.raises(LayerError) as caught:
        realise_layers(Around(DampedFilter()).eval(), examples(), registered={DampedFilter: reader})
    assert said in str(caught.value)
    assert "DampedFilter" in str(caught.value)


def test_naming_and_registering_go_together() -> None:
    torch.manual_seed(3)
    model = nn.ModuleDict({"a": DampedFilter(), "b": Mixing()})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(2, CHANNELS)
            self.layers = model

        def forward(self, samples: Tensor) -> Tensor:
            y: Tensor = self.layers["b"](torch.tanh(self.layers["a"](self.encoder(samples).mT).mT))
            return y

    known = realise_layers(Both().eval(), examples(), lti=["layers.b"], registered={DampedFilter: system_of})
    assert [(layer.name, layer.library) for layer in find_layers(known)] == [("layers.a", "registered"), ("layers.b", "probed")]


@pytest.mark.parametrize("value", ["3", "[1]", "{1: 2}", "{int: print}", "{torch.nn.Linear: 3}"])
def test_malformed_registrations_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "model.py").write_text(example() + f"\n\nLTI_LAYERS = {value}\n", encoding="utf-8")
    np.savez(tmp_path / "s.npz", held_out=np.zeros((1, 9, 1), np.float32))
    arguments = ["inspect", f"{tmp_path / 'model.py'}:make", "--samples", str(tmp_path / "s.npz")]
    result = call(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "LTI_LAYERS must map classes" in result.stderr
