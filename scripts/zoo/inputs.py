"""Inputs: tokens, lengths, masks, several signals, other layouts and types."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.case import BATCH, CLASSES, FEATURES, LENGTH, WIDTH, Case, bank, plain, signal, tokens

functional = nn.functional


class Network(nn.Module):
    """An encoder, a layer and a head; subclasses say how they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.bank, self.head = nn.Linear(FEATURES, WIDTH), bank(), nn.Linear(WIDTH, CLASSES)


class Lengths(Network):
    """Means over the samples that count."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        z = self.bank(self.encoder(x))
        mask = torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None]
        return self.head((z * mask[..., None]).sum(1) / lengths[:, None])  # type: ignore[no-any-return]  # a module


class Masked(Network):
    """A mask along time, by keyword and optional."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        z = self.bank(self.encoder(x))
        if mask is not None:
            z = z.masked_fill(~mask[..., None], 0.0)
        return self.head(z)  # type: ignore[no-any-return]  # a module


class Two(Network):
    """Two signals in step."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head(self.bank(self.encoder(first)) * torch.sigmoid(second))  # type: ignore[no-any-return]  # a module


class Conditioned(Network):
    """A signal and a speaker's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker = nn.Linear(5, WIDTH)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        return self.head(self.bank(self.encoder(x)) + self.speaker(speaker)[:, None])  # type: ignore[no-any-return]  # a module


class Batch(Network):
    """A dictionary as the only argument."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.head(self.bank(self.encoder(batch["x"])))  # type: ignore[no-any-return]  # a module


class Loss(Network):
    """Returns a loss where labels are given."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.bank(self.encoder(x)).mean(1))
        return {"logits": logits} if labels is None else {"logits": logits, "loss": functional.cross_entropy(logits, labels)}


class AnyDimension(Network):
    """Takes sequences without a batch, too."""

    def forward(self, x: Tensor) -> Tensor:
        single = x.ndim == 2
        z = self.head(self.bank(self.encoder(x[None] if single else x)))
        return z[0] if single else z  # type: ignore[no-any-return]  # a module


class Padded(Network):
    """Pads to a multiple of four and cuts off again."""

    def forward(self, x: Tensor) -> Tensor:
        missing = -x.shape[1] % 4
        z = self.bank(self.encoder(functional.pad(x, (0, 0, 0, missing))))
        return self.head(z[:, : x.shape[1]])  # type: ignore[no-any-return]  # a module


class Branching(Network):
    """Goes two ways by a value."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.bank(self.encoder(x))
        return self.head(z) if z.abs().max() > 1 else z  # type: ignore[no-any-return]  # a module


def embedded(m: Any, x: Tensor) -> Tensor:
    """Symbols through an embedding."""
    return m.head(m.bank(m.embedding(x)).mean(1))  # type: ignore[no-any-return]  # a module


def embedding() -> nn.Module:
    """An embedding with a symbol for padding."""
    return nn.Embedding(11, WIDTH, padding_idx=0)


def masked_mean(m: Any, x: Tensor) -> Tensor:
    """Symbols, those that are padding left out of the mean."""
    mask = (x != 0)[..., None]
    z = m.bank(m.embedding(x)) * mask
    return m.head(z.sum(1) / mask.sum(1).clamp(min=1))  # type: ignore[no-any-return]  # a module


def head() -> nn.Module:
    """A linear head."""
    return nn.Linear(WIDTH, CLASSES)


def scaled(m: Any, x: Tensor) -> Tensor:
    """Integers of a microphone, scaled to floats."""
    return m.bank((x.float() / 32768).unsqueeze(-1).expand(-1, -1, WIDTH))  # type: ignore[no-any-return]  # a module


def whole_numbers(dtype: torch.dtype) -> Tensor:
    """Samples of a converter."""
    return torch.randint(0, 120, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1)).to(dtype)


def tied(m: Any, x: Tensor) -> Tensor:
    """A language model whose head is its embedding."""
    return functional.linear(m.bank(m.embedding(x)), m.embedding.weight)


CASES = {
    "input: tokens": Case(plain(embedded, embedding=embedding, head=head), tokens),
    "input: tokens, 32 bits": Case(plain(embedded, embedding=embedding, head=head), lambda: tokens().int()),
    "input: tokens, padding left out": Case(plain(masked_mean, embedding=embedding, head=head), tokens),
    "input: tokens, tied head": Case(plain(tied, embedding=embedding), tokens),
    "input: one-hot": Case(
        plain(
            lambda m, x: m.bank(functional.one_hot(x, 11).float() @ m.table), table=lambda: nn.Parameter(torch.randn(11, WIDTH))
        ),
        tokens,
    ),
    "input: no feature axis": Case(
        plain(lambda m, x: m.bank(x.unsqueeze(-1) * m.gain), gain=lambda: nn.Parameter(torch.randn(WIDTH))),
        lambda: signal(BATCH, LENGTH),
    ),
    "input: channels first": Case(
        plain(lambda m, x: m.bank(m.mix(x).mT), mix=lambda: nn.Conv1d(FEATURES, WIDTH, 1)),
        lambda: signal(BATCH, FEATURES, LENGTH),
        {"time_axis": 2},
    ),
    "input: several axes of features": Case(
        plain(lambda m, x: m.bank(m.mix(x.flatten(2))), mix=lambda: nn.Linear(6, WIDTH)), lambda: signal(BATCH, LENGTH, 3, 2)
    ),
    "input: 16-bit": Case(plain(scaled), lambda: whole_numbers(torch.int16)),
    "input: 8-bit": Case(plain(scaled), lambda: whole_numbers(torch.uint8)),
    "input: lengths": Case(Lengths, lambda: {"x": signal(), "lengths": torch.tensor([32, 7, 9, 30, 32, 12])}),
    "input: mask": Case(Masked, lambda: {"x": signal(), "mask": signal(BATCH, LENGTH) > 0}),
    "input: mask left out": Case(Masked, lambda: {"x": signal()}),
    "input: two signals": Case(Two, lambda: (signal(), signal(BATCH, LENGTH, WIDTH))),
    "input: a signal and an embedding": Case(
        Conditioned, lambda: {"x": signal(), "speaker": signal(BATCH, 5)}, {"static": ["speaker"]}
    ),
    "input: a dictionary": Case(
        Batch,
        lambda: {"x": signal()},
    ),
    "input: optional labels": Case(Loss, lambda: {"x": signal()}),
    "input: batch or not": Case(AnyDimension),
    "input: padded to a multiple": Case(Padded, streams=False),
    "input: a branch on values": Case(Branching, refused="takes a number out of a tensor"),
    "input: time first": Case(
        plain(lambda m, x: m.bank(m.encoder(x).transpose(0, 1)).transpose(0, 1), encoder=lambda: nn.Linear(FEATURES, WIDTH)),
        lambda: signal(LENGTH, BATCH, FEATURES),
        {"time_axis": 0},
        refused="the batch is axis 0",
    ),
}
