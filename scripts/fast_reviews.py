"""Answers of models/imdb, imdb_s5 and imdb_quadratic to many reviews: equal to their own forward up to rounding, and faster.

The kernels of a model that no longer changes are computed once for each length, both directions of a layer are one product of
spectra, states that channels share are computed in chunks, channels come before time so that nothing is transposed, and batches
are small enough for the processor's cache.  Tables of accuracies use this, nothing else does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from fast_convolution import kernels_of
from fast_scan import bidirectional_answers, system_answers
from scipy.fft import next_fast_len
from torch import Tensor, nn
from train_imdb import tensors

from ssm2edge.layers import blocks, find_layers
from ssm2edge.systems.system import System

SYMBOLS = 8192
"""Bytes of a batch."""
LARGEST_DIFFERENCE = 2e-4
"""Of logits from those of the model's own forward."""

Kernels = Callable[[int], tuple[Tensor, Tensor]]
"""From a length to the taps at the sample and before it, and to those after it, ``(channels, length)`` each."""


class FastClassifier:
    """A classifier of reviews, unreduced or reduced, whose weights no longer change."""

    def __init__(self, network: Any) -> None:
        self._network = network
        reduced = blocks(network)
        systems = {name: block.system() for name, block in reduced.items()}
        if not reduced and not hasattr(network.layers[0].layer, "kernel"):
            systems = {layer.name: layer.system for layer in find_layers(network)}
        self._layers = [
            _of_system(systems, f"layers.{index}.layer")
            if systems and next(iter(systems.values())).inputs > 1
            else _Convolution(_of_blocks(reduced, f"layers.{index}.layer") if reduced else _of_layer(block.layer))
            for index, block in enumerate(network.layers)
        ]

    def __call__(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return logits ``(reviews, classes)`` of bytes and mask, ``(reviews, time)`` each."""
        network = self._network
        # Channels come first, then reviews, then time.
        z = network.embedding.weight.T[:, text]
        for norm, block, layer in zip(network.norms, network.layers, self._layers, strict=True):
            y = nn.functional.gelu(layer(_normalised(norm, z).mul_(mask)))
            mixing = block.output_linear[0]
            value, gate = torch.addmm(mixing.bias[:, None], mixing.weight, y.reshape(len(y), -1)).reshape(2, *z.shape)
            z = z.addcmul_(value, gate.sigmoid_())
        pooled = (_normalised(network.norm, z) * mask).sum(-1) / mask.sum(-1)
        logits: Tensor = network.decoder(pooled.T)
        return logits


class _Convolution:
    """A bidirectional layer of channels of their own, as one product of spectra."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._known: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> Tensor:
        response = self._response(int(next_fast_len(z.shape[-1], real=True)))
        points = 2 * (response.shape[-1] - 1)
        answers: Tensor = torch.fft.irfft(torch.fft.rfft(z, n=points).mul_(response), n=points)[..., : z.shape[-1]]
        return answers

    def _response(self, length: int) -> Tensor:
        """Return the response for a length and those below it, to the last that transforms fast; all are kept."""
        if length not in self._known:
            self._known[length] = _response(*self._kernels(length), 2 * length)
        return self._known[length]


def _of_system(systems: Mapping[str, System], place: str) -> Callable[[Tensor], Tensor]:
    """Return a layer whose channels share states, in one direction or both."""
    if place in systems:
        return system_answers(systems[place])
    return bidirectional_answers(systems[f"{place}.causal"], systems[f"{place}.anticausal"])


def check_alike(fast: FastClassifier, network: nn.Module, reviews: Sequence[bytes]) -> None:
    """Compare with the model's own forward.

    Raises
    ------
    SystemExit
        If the logits differ by more than rounding.
    """
    batch = tensors(reviews, "cpu")
    with torch.no_grad():
        difference = float((fast(*batch) - network(*batch)).abs().max())
    if not difference <= LARGEST_DIFFERENCE:
        raise SystemExit(f"The fast answers differ from the model's by {difference:.1e}; evaluate with its own forward.")


def _response(past: Tensor, future: Tensor, points: int) -> Tensor:
    """Return the transform of a kernel whose taps of the future stand at its end, as negative times."""
    taps = past.new_zeros((len(past), points))
    taps[:, : past.shape[-1]] = past
    taps[:, points - future.shape[-1] :] = future.flip(-1)
    response: Tensor = torch.fft.rfft(taps).to(torch.complex64).unsqueeze(1)
    return response


def _of_layer(layer: Any) -> Kernels:
    precise = copy.deepcopy(layer.kernel).double()

    def kernels(length: int) -> tuple[Tensor, Tensor]:
        past, future = kernels_of(precise, length)
        past[:, 0] += layer.D[0]
        return past, future[:, : length - 1]

    return kernels


def _of_blocks(reduced: Any, place: str) -> Kernels:
    causal, anticausal = (reduced[f"{place}.{part}"] for part in ("causal", "anticausal"))

    def kernels(length: int) -> tuple[Tensor, Tensor]:
        # The system of the future emits nothing at the sample itself.
        return causal.kernel(length), anticausal.kernel(length)[:, 1:]

    return kernels


def _normalised(norm: nn.LayerNorm, z: Tensor) -> Tensor:
    """Return what the norm makes of ``(channels, reviews, time)``: sums over channels are products, which read in order."""
    shape, z = z.shape, z.reshape(len(z), -1)
    share = z.new_full((1, len(z)), 1 / len(z))
    z = z - share @ z
    scale = torch.rsqrt(share @ z.square() + norm.eps)
    return z.mul_(scale).mul_(norm.weight[:, None]).add_(norm.bias[:, None]).reshape(shape)
