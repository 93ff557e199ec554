"""The sequence model around S5 layers of the JAX code (lindermanlab/S5): an encoder, residual layers, a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssm2edge.layers.s5 import S5

ACTIVATIONS = ("full_glu", "half_glu1", "half_glu2", "gelu")
POOLINGS = ("pool", "last", "none")

LAYER_NORM_EPSILON = 1e-6
"""Flax's, not PyTorch's."""


class FeatureBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis of ``(batch, time, features)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class S5SequenceLayer(nn.Module):
    """Norm, S5 layer, activation with or without a gate, and the residual, ``(batch, time, features)`` in and out.

    Parameters
    ----------
    seq
        The S5 layer.
    activation
        One of ``ACTIVATIONS``.
    prenorm
        True if the norm comes before the layer or after the residual.
    batchnorm
        Batch normalisation instead of layer normalisation.
    dropout
        Share of values that training drops.

    Raises
    ------
    ValueError
        If the activation is unknown.
    """

    def __init__(self, seq: S5, activation: str, prenorm: bool, batchnorm: bool, dropout: float = 0.0) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"the activation is {activation!r}; known are {', '.join(ACTIVATIONS)}.")
        features = len(seq.D)
        self.activation = activation
        self.prenorm = prenorm
        self.norm = FeatureBatchNorm(features) if batchnorm else nn.LayerNorm(features, eps=LAYER_NORM_EPSILON)
        self.seq = seq
        self.gelu = nn.GELU(approximate="tanh")
        self.out1 = nn.Linear(features, features) if activation == "full_glu" else None
        self.out2 = nn.Linear(features, features) if activation != "gelu" else None
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.seq(self.norm(x) if self.prenorm else x)
        active = self.drop(self.gelu(y))
        if self.out2 is None:
            y = active
        else:
            passed = y if self.activation == "half_glu2" else active if self.out1 is None else self.out1(active)
            y = self.drop(passed * torch.sigmoid(self.out2(active)))
        y = x + y
        return y if self.prenorm else self.norm(y)


class S5Model(nn.Module):
    """Encoder, S5 layers and decoder: ``(batch, time, inputs)`` to ``(batch, classes)``, or to ``(batch, time, outputs)``.

    Parameters
    ----------
    encoder, decoder
        Linear layers; an embedding takes ``(batch, time)`` tokens.
    layers
        In their order.
    mode
        Input of the decoder: ``pool`` (the mean over time), ``last`` (the last sample), ``none`` (every sample).
    log_softmax
        True if the answers are logarithms of probabilities, as the original's are, or the decoder's own.

    Raises
    ------
    ValueError
        If the mode is unknown.
    """

    def __init__(
        self, encoder: nn.Module, layers: list[S5SequenceLayer], decoder: nn.Module, mode: str, log_softmax: bool
    ) -> None:
        super().__init__()
        if mode not in POOLINGS:
            raise ValueError(f"the mode is {mode!r}; known are {', '.join(POOLINGS)}.")
        self.encoder = encoder
        self.layers = nn.ModuleList(layers)
        self.decoder = decoder
        self.mode = mode
        self.log_softmax = log_softmax

    def forward(self, u: Tensor) -> Tensor:
        x: Tensor = self.encoder(u)
        for layer in self.layers:
            x = layer(x)
        x = x.mean(1) if self.mode == "pool" else x[:, -1] if self.mode == "last" else x
        y: Tensor = self.decoder(x)
        return y.log_softmax(-1) if self.log_softmax else y
