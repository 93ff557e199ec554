"""Depthwise convolutions as long as their sequences are banks of channels; short ones stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import LayerError, exportable, find_layers, realise_layers, replace_layers
from ssm2edge.systems.response import impulse_response
from tests.layer_answers import noise, relative
from tests.layers.filters import CHANNELS, LENGTH, DampedFilter, at_full_order, examples, sine_window


def damped_taps(filters: int, taps: int, slowest: float = 0.05) -> Tensor:
    """Sums of damped cosines, ``(filters, taps)``, the first tap the latest sample's."""
    torch.manual_seed(0)
    filter = DampedFilter(filters, 3)
    with torch.no_grad():
        filter.decay.add_(slowest)
        return filter.kernel(taps)


class LongConvolution(nn.Module):
    """``(batch, time, 2)`` through a depthwise convolution, padded by itself on both sides or by the model on the left."""

    def __init__(
        self, taps: int = LENGTH, pads_itself: bool = True, bias: bool = True, per_input: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.reach = (taps - 1) * dilation
        self.conv = nn.Conv1d(
            CHANNELS,
            CHANNELS * per_input,
            taps,
            groups=CHANNELS,
            padding=self.reach if pads_itself else 0,
            bias=bias,
            dilation=dilation,
        )
        self.pads_itself = pads_itself
        self.decoder = nn.Linear(CHANNELS * per_input, 3)
        with torch.no_grad():
            self.conv.weight.copy_(damped_taps(CHANNELS * per_input, taps).flip(-1)[:, None])

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples).transpose(1, 2)
        length = z.shape[-1]
        y = self.conv(z)[..., :length] if self.pads_itself else self.conv(nn.functional.pad(z, (self.reach, 0)))
        out: Tensor = self.decoder(torch.tanh(y).transpose(1, 2))
        return out


@pytest.mark.parametrize(
    "make",
    [
        LongConvolution,
        lambda: LongConvolution(pads_itself=False),
        lambda: LongConvolution(bias=False),
        lambda: LongConvolution(pads_itself=False, per_input=2),
        lambda: LongConvolution(taps=3 * LENGTH),
        lambda: LongConvolution(taps=64, dilation=2),
        lambda: LongConvolution(taps=64, dilation=3, pads_itself=False),
    ],
)
def test_long_convolutions_are_found_and_compute_the_same_as_banks(make: Callable[[], LongConvolution]) -> None:
    model = make().eval()
    known, reduced = at_full_order(model)
    (layer,) = find_layers(known)
    assert (layer.name, layer.library, layer.kind) == ("conv", "long convolution", "SISO bank")
    assert layer.parameters == model.conv.weight.numel()
    assert layer.realised is not None
    assert (layer.realised.taps, layer.realised.error < 5e-6) == (LENGTH, True)
    u = noise(3, LENGTH, 2)
    with torch.no_grad():
        expected = model(u)
        assert torch.equal(known(u), expected)
        assert relative(reduced(u), expected) < 1e-5
        assert relative(exportable(reduced)(u), expected) < 1e-5
        for length in (1, 40):
            assert relative(reduced(u[:, :length]), model(u[:, :length])) < 1e-5


def test_taps_are_those_of_the_filter_against_numpy() -> None:
    model = LongConvolution(bias=False).eval()
    (layer,) = find_layers(realise_layers(model, examples()))
    response = impulse_response(layer.system, LENGTH)[:, 0, 0].numpy()
    u = noise(CHANNELS, LENGTH).numpy().astype(np.float64)
    with torch.no_grad():
        expected = model.conv(torch.from_numpy(u)[None].float())[0, :, :LENGTH].numpy()
    actual = np.array([np.convolve(x, h)[:LENGTH] for x, h in zip(u, response, strict=True)])
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_sequences_longer_than_the_filter_see_where_it_ends() -> None:
    """A filter cut off at half of the sequence: what follows is part of the response, and the error tells what it costs."""
    ended = LongConvolution(taps=LENGTH // 2).eval()
    lasting = LongConvolution(taps=LENGTH // 2).eval()
    with torch.no_grad():
        lasting.conv.weight.copy_(damped_taps(CHANNELS, LENGTH // 2, slowest=-0.02).flip(-1)[:, None])
    for model in (ended, lasting):
        known, reduced = at_full_order(model)
        (layer,) = find_layers(known)
        assert layer.realised is not None
        assert layer.realised.taps == LENGTH
        u = noise(2, LENGTH, 2)
        with torch.no_grad():
            z = model.encoder(u).transpose(1, 2)
            difference = reduced.conv(z)[..., :LENGTH] - model.conv(z)[..., :LENGTH]
            scale = (model.conv(z)[..., :LENGTH] - model.conv.bias[:, None]).square().mean().sqrt()
        # What white noise makes of the difference is the error that was told, within chance and rounding.
        measured = float(difference.square().mean().sqrt() / scale)
        assert measured < 5 * layer.realised.error + 1e-6
        assert measured > layer.realised.error / 5 - 1e-6


def test_errors_of_filters_that_no_few_states_make_are_told() -> None:
    model = LongConvolution(taps=4 * LENGTH).eval()
    with torch.no_grad():
        model.conv.weight.normal_(generator=torch.Generator().manual_seed(1))
    inputs = examples(4 * LENGTH)
    known = realise_layers(model, inputs)
    (layer,) = find_layers(known)
    assert layer.realised is not None
    assert layer.system.order == 128
    assert 0.3 < layer.realised.error < 1
    reduced = replace_layers(known, {"conv": layer.system})
    z = noise(1, CHANNELS, 4 * LENGTH)
    with torch.no_grad():
        actual, expected = (conv(z)[..., : 4 * LENGTH] for conv in (reduced.conv, model.conv))
    assert 0.2 < float((actual - expected).norm() / expected.norm()) < 1


def test_filters_cut_off_while_they_last_are_realised_and_stable() -> None:
    model = LongConvolution().eval()
    with torch.no_grad():
        model.conv.weight.copy_((sine_window(LENGTH) + 0.1).flip(-1).expand(CHANNELS, 1, -1))
    known, reduced = at_full_order(model)
    (layer,) = find_layers(known)
    assert float(layer.system.poles.abs().max()) < 1
    u = noise(2, LENGTH, 2)
    with torch.no_grad():
        assert relative(reduced(u), model(u)) < 1e-4


class Convolutions(nn.Module):
    """What must not be taken for a causal filter, or is too short for one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, CHANNELS)
        self.short = nn.Conv1d(CHANNELS, CHANNELS, 63, groups=CHANNELS, padding=62)
        self.centred = nn.Conv1d(CHANNELS, CHANNELS, 65, groups=CHANNELS, padding=32)
        self.same = nn.Conv1d(CHANNELS, CHANNELS, 65, groups=CHANNELS, padding="same")
        self.mixing = nn.Conv1d(CHANNELS, CHANNELS, 65, padding=64)
        self.circular = nn.Conv1d(CHANNELS, CHANNELS, 65, groups=CHANNELS, padding=64, padding_mode="circular")
        self.strided = nn.Conv1d(CHANNELS, CHANNELS, 65, groups=CHANNELS, padding=64, stride=2)
        self.unused = nn.Conv1d(CHANNELS, CHANNELS, 65, groups=CHANNELS, padding=64)

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples).transpose(1, 2)
        length = z.shape[-1]
        y = self.short(z)[..., :length] + self.centred(z) + self.same(z) + self.mixing(z)[..., :length]
        y = y + self.circular(z)[..., :length] + self.strided(z)[..., :1]
        out: Tensor = nn.functional.conv1d(y, self.unused.weight, groups=CHANNELS, padding=64)[..., :length]
        return out


def test_other_convolutions_are_left_as_they_are() -> None:
    model = Convolutions().eval()
    known = realise_layers(model, examples())
    with pytest.raises(LayerError, match="no layer that ssm2edge knows"):
        find_layers(known)


def test_short_ones_are_realised_where_the_user_names_them() -> None:
    torch.manual_seed(2)
    model = Convolutions().eval()
    known = realise_layers(model, examples(), lti=["short"])
    (layer,) = find_layers(known)
    assert (layer.name, layer.library) == ("short", "long convolution")
    assert layer.realised is not None
    assert layer.realised.taps == LENGTH


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    model = LongConvolution().eval()
    with torch.no_grad():
        model.conv.weight[1, 0, 3] = float("nan")
    with pytest.raises(LayerError, match="conv holds NaN"):
        realise_layers(model, examples())
