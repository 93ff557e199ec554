"""Recordings of another rate than the model's: refused by both rates, or resampled where the user asks."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import nn

import ssm2edge
from models.digits.model import S4D
from ssm2edge.audio.wav import read_wav
from ssm2edge.errors import UserError
from ssm2edge.loading import open_source
from ssm2edge.runtime import Model, Stream
from tests.command_line import call
from tests.first_order import build, filtered

RATE = 4000


def save(path: Path, rate: int, samples: int = 800, channels: int = 1) -> Path:
    """A recording of two tones, far below half of either rate."""
    times = np.arange(samples) / rate
    signal = 0.4 * np.sin(2 * np.pi * 200 * times) + 0.3 * np.cos(2 * np.pi * 650 * times)
    with wave.open(str(path), "wb") as recording:
        recording.setparams((channels, 2, rate, samples, "NONE", ""))
        recording.writeframes(np.repeat((signal * 32767).astype("<i2"), channels).tobytes())
    return path


def with_rate(rate: object) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        for entry in graph.metadata_props:
            if entry.key == "ssm2edge.inputs":
                entry.value = json.dumps([{**port, "rate": rate} for port in json.loads(entry.value)])

    return change


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(
        tmp_path_factory.mktemp("rates") / "out", mean=False, change_offline=with_rate(RATE), change_stream=with_rate(RATE)
    )


def test_ports_have_the_rate(artifact: Path) -> None:
    for opened in (Model(artifact), Stream(artifact)):
        assert [port.rate for port in opened.inputs] == [RATE]
        assert [port.rate for port in opened.outputs] == [None]


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=str)
@pytest.mark.parametrize("rate", [8000, 2000, 4001])
def test_another_rate_is_refused_by_both_rates_and_resampled_if_asked(
    artifact: Path, tmp_path: Path, rate: int, more: list[str]
) -> None:
    file = save(tmp_path / "sound.wav", rate)
    refused = call("run", artifact, "--input", file, *more)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    for part in (f"{rate} samples a second", f"takes {RATE}", "--resample"):
        assert part in refused.stderr
    result = call("run", artifact, "--input", file, *more, "--resample", "--output", tmp_path / "out.npy")
    assert result.exit_code == 0, result.stderr
    common = np.gcd(rate, RATE)
    expected = resample_poly(read_wav(file).astype(np.float64), RATE // common, rate // common)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), filtered(expected[None].astype(np.float32), False), atol=1e-4)


def test_the_rate_of_the_model_passes_and_only_recordings_have_one(artifact: Path, tmp_path: Path) -> None:
    for more in ([], ["--resample"]):
        assert call("run", artifact, "--input", save(tmp_path / "sound.wav", RATE), *more).exit_code == 0
    np.save(tmp_path / "sound.npy", np.zeros((1, 8, 1), np.float32))
    refused = call("run", artifact, "--input", tmp_path / "sound.npy", "--resample")
    assert refused.exit_code == 2
    assert "no recording" in refused.stderr
    plain = build(tmp_path / "plain", mean=False)
    assert call("run", plain, "--input", tmp_path / "sound.wav").exit_code == 0
    refused = call("run", plain, "--input", tmp_path / "sound.wav", "--resample")
    assert refused.exit_code == 2
    assert "has no rate" in refused.stderr


def test_two_tones_stay_two_tones(artifact: Path, tmp_path: Path) -> None:
    from ssm2edge.cli.resampling import Resampling

    fast, slow = (save(tmp_path / f"{rate}.wav", rate, rate // 5) for rate in (8000, RATE))
    found = Resampling(True).at(RATE, read_wav(fast), 8000, fast)
    expected: NDArray[np.float32] = read_wav(slow)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[60:-60], expected[60:-60], atol=5e-3)


@pytest.mark.parametrize(("rate", "said"), [("0", "0"), ('"4 kHz"', "4 kHz"), ("4000.0", "4000.0"), ("true", "True")])
def test_rates_that_are_none_are_refused(tmp_path: Path, rate: str, said: str) -> None:
    (tmp_path / "build.toml").write_text(f'[model]\nfactory = "m.py:f"\n[samples]\nfile = "s.npz"\nrate = {rate}\n')
    with pytest.raises(UserError, match=f"samples.rate of .* is .*{said}.*; give the samples a second") as caught:
        open_source(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_front_end_has_a_rate_already(tmp_path: Path) -> None:
    front_end = "[front_end]\nkind = 'log-mel'\nsample_rate = 8000\nwindow = 200\nhop = 80\nmels = 8\nspan = 4\n"
    (tmp_path / "build.toml").write_text(f'[model]\nfactory = "m.py:f"\n[samples]\nfile = "s.npz"\nrate = 8000\n{front_end}')
    with pytest.raises(UserError, match="has a front end"):
        open_source(str(tmp_path))


def test_the_rate_may_be_given_to_a_source(tmp_path: Path) -> None:
    (tmp_path / "build.toml").write_text('[model]\nfactory = "m.py:f"\n[samples]\nfile = "s.npz"\nrate = 4000\n')
    assert open_source(str(tmp_path)).rate == RATE
    assert open_source(str(tmp_path), rate=8000).task == {"rate": 8000}
    assert open_source("m.py:f", samples=tmp_path / "s.npz", rate=8000).rate == 8000


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
def test_builds_write_the_rate(tmp_path: Path) -> None:
    torch.manual_seed(0)

    class Sound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.layer = nn.Linear(1, 4), S4D(4, 6)

        def forward(self, u: torch.Tensor) -> torch.Tensor:
            return self.layer(self.encoder(u).mT)[0].mT

    built = ssm2edge.build(Sound().eval(), torch.randn(8, 40, 1), tmp_path / "out", keep=1.0, calibrate="none", rate=RATE)
    assert built.manifest.task == {"rate": RATE}
    assert Model(built.directory).inputs[0].rate == Stream(built.directory).inputs[0].rate == RATE
    assert built.verify().verdict.passed
    refused = call("run", built.directory, "--input", save(tmp_path / "sound.wav", 8000))
    assert (refused.exit_code, "8000" in refused.stderr, "4000" in refused.stderr) == (2, True, True)
    with pytest.raises(UserError, match="The rate is 0"):
        ssm2edge.build(Sound().eval(), torch.randn(8, 40, 1), tmp_path / "no", rate=0)
