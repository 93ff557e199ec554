"""Layers that are one system at one length only, or up to one: graphs, streams and the manifest take no other sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import ssm2edge
from ssm2edge.layers import Examples, find_layers, fix_lengths, realise_layers, span_of
from ssm2edge.runtime import InputError
from tests.command_line import call
from tests.layers.test_dss import CHANNELS, DSS
from tests.published_s4 import FFTConv
from tests.slow_cases import slow_but

LENGTH = 24


class Sequences(nn.Module):
    """An encoder and one layer, channels before time."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layer = nn.Linear(2, CHANNELS), layer

    def forward(self, u: Tensor) -> Tensor:
        y = self.layer(self.encoder(u).mT)
        answer: Tensor = (y if isinstance(y, Tensor) else y[0])[..., : u.shape[1]].mT
        return answer


class Filter(nn.Module):
    """A convolution with ``taps`` samples of a slow decay."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.exp(-torch.arange(taps) / 40.0))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        taps = torch.fft.rfft(self.taps[:length], n=2 * length)
        return torch.fft.irfft(torch.fft.rfft(x, n=2 * length) * taps, n=2 * length)[..., :length]


def convolution(taps: int) -> nn.Module:
    layer = nn.Conv1d(CHANNELS, CHANNELS, taps, groups=CHANNELS, padding=taps - 1)
    with torch.no_grad():
        layer.weight.copy_(torch.exp(torch.arange(1 - taps, 1) / 40.0).expand_as(layer.weight))
    return layer


def s4(step: float, **options: Any) -> nn.Module:
    layer = FFTConv(CHANNELS, 4, **options)
    with torch.no_grad():
        layer.kernel.inv_dt.fill_(float(np.log(step)))
    return layer


def samples(count: int = 8, length: int = LENGTH) -> Tensor:
    return torch.randn(count, length, 2, generator=torch.Generator().manual_seed(3))


BOUND: dict[str, tuple[Callable[[], nn.Module], int, int, tuple[str, ...]]] = {
    "softmax": (DSS, LENGTH, LENGTH, ()),
    "softmax with its length": (lambda: DSS(max_kernel_length=LENGTH), LENGTH, LENGTH, ()),
    "softmax in both directions": (lambda: DSS(bidirectional=True), LENGTH, LENGTH, ()),
    "S4 by dss": (lambda: s4(0.1, disc="dss"), LENGTH, LENGTH, ()),
    "cut off": (lambda: s4(0.02, l_max=LENGTH), 1, LENGTH, ()),
    "cut off later": (lambda: s4(0.02, l_max=48), 1, 48, ()),
    "convolution": (lambda: convolution(64), 1, LENGTH, ()),
    "measured": (lambda: Filter(LENGTH), 1, LENGTH, ("layer",)),
}
"""Layer, shortest and longest sequence, modules that are measured."""

FREE: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "no end": (lambda: s4(0.02), ()),
    "cut off where nothing is left": (lambda: s4(1.0, l_max=200), ()),
    "measured, without an end": (lambda: Filter(1000), ("layer",)),
}


def span(layer: nn.Module, lti: tuple[str, ...]) -> tuple[int, int | None, str]:
    model = Sequences(layer).eval()
    fix_lengths(model, LENGTH)
    realised = realise_layers(model, Examples.of([samples()], [1]), lti)
    found = span_of(find_layers(realised))
    return found.shortest, found.longest, found.reason


@pytest.mark.parametrize("name", slow_but(("softmax", "cut off", "convolution"), BOUND))
def test_what_a_layer_is_bound_to_is_found(name: str) -> None:
    torch.manual_seed(1)
    make, shortest, longest, lti = BOUND[name]
    found = span(make(), lti)
    assert found[:2] == (shortest, longest)
    assert found[2].startswith("Layer layer")
    assert f" {longest} samples" in found[2]


@pytest.mark.parametrize("name", slow_but(("no end",), FREE))
def test_layers_that_hold_for_every_length_are_not_bound(name: str) -> None:
    torch.manual_seed(1)
    make, lti = FREE[name]
    assert span(make(), lti) == (1, None, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUND)
@pytest.mark.usefixtures("brief_latencies")
def test_graphs_and_streams_take_no_other_sequences(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    make, shortest, longest, lti = BOUND[name]
    model = Sequences(make()).eval()
    built = ssm2edge.build(model, samples(), tmp_path / "out", keep=1.0, calibrate="none", lti=lti)
    assert built.decided is not None
    assert f" {longest} samples" in built.decided
    assert dict(built.manifest.lengths) == {"shortest": shortest, "longest": longest}
    assert built.manifest.streaming.available == ("directions" not in name)
    with torch.no_grad():
        expected = model(samples()).numpy()
    np.testing.assert_allclose(built.run(samples())["output"], expected, rtol=1e-3, atol=1e-4)
    u = samples(8, longest + 1).numpy()
    sentence = f"exactly {longest}" if shortest == longest else f"no more than {longest}"
    with pytest.raises(InputError, match=f"The sequence has {longest + 1} samples, but the model takes .*{sentence}"):
        built.run(u)
    np.save(tmp_path / "long.npy", u)
    for more in ([], ["--stream"]) if built.manifest.streaming.available else ([],):
        result = call("run", tmp_path / "out", "--input", tmp_path / "long.npy", *more)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert str(longest) in result.stderr
    if shortest == longest:
        with pytest.raises(InputError, match=f"has {longest - 1} samples, but"):
            built.run(u[:, :-2])


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> ssm2edge.Artifact:
    torch.manual_seed(1)
    model = Sequences(DSS()).eval()
    return ssm2edge.build(model, samples(), tmp_path_factory.mktemp("bound") / "out", keep=1.0, calibrate="none", block=2)


@pytest.mark.slow
def test_streams_count_the_samples_of_each_row(softmax: ssm2edge.Artifact) -> None:
    u = samples(2, LENGTH).numpy()
    expected = softmax.run(u)["output"]
    with softmax.stream(2) as stream:
        assert (stream.length, stream.longest) == (LENGTH, LENGTH)
        first = stream.push(u[:, :9])["output"]
        kept = stream.snapshot()
        rest = stream.push(u[:, 9:])["output"]
        np.testing.assert_allclose(np.concatenate([first, rest], 1), expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match=f"has {LENGTH} samples and gets 1 more, but the model takes no more than {LENGTH}"):
            stream.push(u[:, :1])
        stream.restore(kept)
        np.testing.assert_array_equal(stream.push(u[:, 9:])["output"], rest)
        stream.flush()
        stream.push(u[:, :8])
        with pytest.raises(InputError, match=f"ends after 8 samples, but the model takes sequences of exactly {LENGTH}"):
            stream.flush()
        stream.reset([0])
        stream.push(u[:, : LENGTH - 8])
        with stream.split([0]) as young:
            young.push(u[:1, LENGTH - 8 :])
        with pytest.raises(InputError, match=f"has {LENGTH} samples and gets 8 more"):
            stream.push(u[:, :8])
        stream.reset([1])
        stream.push(u[:, :8])
        stream.reset()
        stream.unbind()
        for _ in range(3):
            stream.push(u)
    metadata = {entry.key: entry.value for entry in onnx.load(softmax.directory / "stream.onnx").metadata_props}
    assert metadata["ssm2edge.length"] == str(LENGTH)


@pytest.mark.slow
def test_artifacts_of_bound_layers_verify_and_run_everywhere(softmax: ssm2edge.Artifact) -> None:
    assert softmax.verify().verdict.passed
    assert call("bench", softmax.directory, "--seconds", "0.5").exit_code == 0
    assert call("check", softmax.directory, "--baseline", softmax.directory).exit_code in (0, 3)


@pytest.mark.slow
def test_the_form_in_c_names_the_longest_sequence(softmax: ssm2edge.Artifact, tmp_path: Path) -> None:
    result = call("package", softmax.directory, "--target", "c", "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    header = next((tmp_path / "c").glob("out.h")).read_text()
    assert call("verify", softmax.directory, "--target", "c").exit_code == 0
    assert f"#define OUT_LONGEST {LENGTH} /* samples of a sequence: then call out_init */" in header
