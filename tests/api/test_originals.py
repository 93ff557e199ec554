"""Originals that a compressed model did not come from, and tensors of torch in runs and streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ssm2edge
from models.digits.model import S4D
from ssm2edge.runtime import InputError, Model, Stream
from tests.first_order import build, filtered

SAMPLES = np.random.default_rng(0).standard_normal((2, 8, 1)).astype(np.float32)


class Sequences(nn.Module):
    def __init__(self, width: int = 4, name: str = "layer") -> None:
        super().__init__()
        self.encoder, self.decoder, self.name = nn.Linear(2, width), nn.Linear(width, 3), name
        self.add_module(name, S4D(width, 6))

    def forward(self, u: Tensor) -> Tensor:
        answer: Tensor = self.decoder(self.get_submodule(self.name)(self.encoder(u).mT)[0].mT)
        return answer


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 3)

    def forward(self, u: Tensor) -> Tensor:
        answer: Tensor = self.decoder(u)
        return answer


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "text": (lambda: "model.py", "The original is a str; give the module that was compressed"),
    "an array": (lambda: SAMPLES, "The original is a ndarray"),
    "another layer": (lambda: Sequences(name="other"), "blocks for layer, but the original has the layers other"),
    "another width": (lambda: Sequences(8), "block for layer has 4 channels, but the original's layer has 8 channels"),
    "other weights": (Sequences, "block for layer was made of other weights than the original's layer has; give the original"),
    "no layer": (Plain, "The original is not what was compressed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_another_original_is_named(name: str, tmp_path: Path) -> None:
    make, said = WRONG[name]
    samples = torch.randn(8, 24, 2)
    small = ssm2edge.compress(Sequences().eval(), samples, order=2, calibrate="none", method="balanced")
    with pytest.raises(ssm2edge.Error, match=said) as caught:
        ssm2edge.build(small, samples, tmp_path / "out", original=make(), calibrate="none")  # type: ignore[arg-type]  # wrong ones
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_tensors_of_torch_run_and_stream_whatever_they_require(tmp_path: Path) -> None:
    directory = build(tmp_path / "out", mean=False)
    u = torch.from_numpy(SAMPLES).requires_grad_()
    for given in (u, {"u": u}, u.detach()):
        with Model(directory) as model, Stream(directory, 2) as stream:
            for found in (model.run(given), stream.push(given)):  # type: ignore[arg-type]  # tensors, for once
                np.testing.assert_allclose(found["output"], filtered(SAMPLES, False), atol=1e-6)


@pytest.mark.parametrize("given", [torch.zeros(2, 8, 1, dtype=torch.bfloat16), [[1.0], [1.0, 2.0]]], ids=["bfloat16", "ragged"])
def test_what_is_no_array_is_refused_in_one_sentence(tmp_path: Path, given: object) -> None:
    directory = build(tmp_path / "out", mean=False)
    with Stream(directory, 2) as stream, pytest.raises(InputError, match=r"u is a .* that is no array") as caught:
        stream.push(given)  # type: ignore[arg-type]  # no array
    assert "\n" not in str(caught.value)
