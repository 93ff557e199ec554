"""Models that have no finite answer to some artificial signals are built, and checked on the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.artifact import open_artifact
from ssm2edge.runtime import Model
from ssm2edge.verification.signals import SIGNALS
from tests.command_line import call
from tests.model_directories import BUILD, HELD_OUT, LENGTH, model_directory, samples

pytestmark = pytest.mark.usefixtures("brief_latencies")

# The weights are tiny_model's; a mean over what a mask leaves, and inputs of no fixed size, have no answer to silence.
MODELS = """


class Scaled(DigitClassifier):
    def forward(self, pixels):
        return super().forward(pixels / pixels.abs().mean(1, keepdim=True))


class Masked(DigitClassifier):
    def forward(self, pixels, mask):
        x = self.encoder(pixels).mT
        for layer in self.layers:
            x = x + layer(x)[0]
        return self.decoder(self.norm((x * mask[:, None]).sum(2) / mask[:, None].sum(2)))


class Standardised(DigitClassifier):
    def forward(self, pixels):
        return super().forward((pixels - pixels.mean(1, keepdim=True)) / (pixels.std(1, keepdim=True) + 1e-8))


def standardised(channels, states, layers):
    return Standardised(channels, states, layers)


def scaled(channels, states, layers):
    return Scaled(channels, states, layers)


def masked(channels, states, layers):
    return Masked(channels, states, layers)
"""


def directory_of(place: Path, factory: str) -> Path:
    directory = model_directory(place, BUILD.replace(":make", f":{factory}").replace("order = 6", "order = 2"))
    with (directory / "model.py").open("a") as code:
        code.write(MODELS)
    given = samples()
    if factory == "masked":
        given["held_out.mask"] = np.repeat(np.arange(LENGTH)[None] < 20, HELD_OUT, 0).astype(np.float32)
        given["calibration.mask"] = given["held_out.mask"][:5]
    np.savez(directory / "samples.npz", **given)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["scaled", "masked"])
def test_signals_without_an_answer_are_left_out(tmp_path: Path, factory: str) -> None:
    directory = directory_of(tmp_path / "model", factory)
    result = call("build", directory, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    probes = open_artifact(tmp_path / "out").probes
    assert probes is not None
    assert probes.samples == len(SIGNALS)  # a held-out sequence and all signals but silence
    assert all(np.isfinite(value).all() for value in probes.original.values())
    told = call("verify", tmp_path / "out", "--json")
    checks = {check["name"] for check in json.loads(told.stdout)["checks"]}
    assert told.exit_code == 0
    assert "offline.probes" in checks
    assert ("streaming.probes" in checks) == (factory == "masked")


@pytest.mark.slow
def test_lengths_without_a_finite_answer_are_not_taken(tmp_path: Path) -> None:
    directory = directory_of(tmp_path / "model", "standardised")
    result = call("build", directory, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    with Model(tmp_path / "out") as model:
        assert model.shortest == 2  # one sample has no standard deviation
        assert np.isfinite(model.run(samples()["held_out.pixels"][:, :2])["output"]).all()
