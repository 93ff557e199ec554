"""Heads: answers at the end, at every sample, several, by name, at another rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.case import CLASSES, WIDTH, Case, network

functional = nn.functional


class Answer(NamedTuple):
    """An answer with named parts."""

    logits: Tensor
    hidden: Tensor


def head() -> nn.Module:
    """A linear head."""
    return nn.Linear(WIDTH, CLASSES)


def attended(m: Any, z: Tensor) -> Tensor:
    """Attention pooling."""
    weights = torch.softmax(m.score(z), 1)
    return m.head((weights * z).sum(1))  # type: ignore[no-any-return]  # a module


def causal_attention(m: Any, z: Tensor) -> Tensor:
    """One head of causal attention, the mask made for the length at hand."""
    scores = m.query(z) @ m.key(z).mT / WIDTH**0.5
    mask = torch.ones(z.shape[1], z.shape[1], dtype=torch.bool).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ z  # type: ignore[no-any-return]  # a module


def linear() -> nn.Module:
    """A square linear map."""
    return nn.Linear(WIDTH, WIDTH)


def stacked(m: Any, z: Tensor) -> Tensor:
    """Statistics pooling: mean and deviation."""
    return m.head(torch.cat((z.mean(1), z.std(1)), -1))  # type: ignore[no-any-return]  # a module


CASES = {
    "head: every sample": Case(network(lambda m, z: m.head(z), head=head)),
    "head: mean": Case(network(lambda m, z: m.head(z.mean(1)), head=head)),
    "head: mean by dim": Case(network(lambda m, z: m.head(torch.mean(z, dim=-2)), head=head)),
    "head: sum over length": Case(network(lambda m, z: m.head(z.sum(1) / z.shape[1]), head=head)),
    "head: last": Case(network(lambda m, z: m.head(z[:, -1]), head=head)),
    "head: last, kept": Case(network(lambda m, z: m.head(z[:, -1:, :]).squeeze(1), head=head)),
    "head: maximum": Case(network(lambda m, z: m.head(z.max(1).values), head=head)),
    "head: maximum by amax": Case(network(lambda m, z: m.head(z.amax(dim=1)), head=head)),
    "head: adaptive pooling": Case(network(lambda m, z: m.head(functional.adaptive_avg_pool1d(z.mT, 1).squeeze(-1)), head=head)),
    "head: pooling module": Case(
        network(lambda m, z: m.head(m.pool(z.mT).flatten(1)), head=head, pool=lambda: nn.AdaptiveAvgPool1d(1))
    ),
    "head: mean and deviation": Case(network(stacked, head=lambda: nn.Linear(2 * WIDTH, CLASSES)), streams=False),
    "head: running mean": Case(network(lambda m, z: m.head(z.cumsum(1) / torch.arange(1, z.shape[1] + 1)[:, None]), head=head)),
    "head: first": Case(network(lambda m, z: m.head(z[:, 0]), head=head)),
    "head: attention pooling": Case(network(attended, head=head, score=lambda: nn.Linear(WIDTH, 1)), streams=False),
    "head: causal attention": Case(network(causal_attention, query=linear, key=linear), streams=False),
    "head: squeeze and excite": Case(
        network(lambda m, z: z * torch.sigmoid(m.head(z.mean(1, keepdim=True))), head=linear), streams=False
    ),
    "head: two answers": Case(network(lambda m, z: (m.head(z.mean(1)), m.other(z)), head=head, other=head)),
    "head: dictionary": Case(network(lambda m, z: {"class": m.head(z.mean(1)), "trace": m.other(z)}, head=head, other=head)),
    "head: named tuple": Case(network(lambda m, z: Answer(m.head(z[:, -1]), z), head=head)),
    "head: list of answers": Case(network(lambda m, z: [m.head(z), m.other(z)], head=head, other=head)),
    "head: log-softmax": Case(network(lambda m, z: functional.log_softmax(m.head(z), -1), head=head)),
    "head: probabilities of the mean": Case(network(lambda m, z: m.head(z.mean(1)).softmax(-1), head=head)),
    "head: class": Case(network(lambda m, z: m.head(z.mean(1)).argmax(-1), head=head)),
    "head: one number": Case(network(lambda m, z: m.head(z)[..., 0], head=head)),
    "head: channels first": Case(network(lambda m, z: m.head(z).permute(0, 2, 1), head=head)),
    "head: convolution of one tap": Case(network(lambda m, z: m.head(z.mT).mT, head=lambda: nn.Conv1d(WIDTH, CLASSES, 1))),
    "head: every fourth sample": Case(network(lambda m, z: m.head(z[:, 3::4]), head=head)),
    "head: upsampled": Case(network(lambda m, z: m.head(z.repeat_interleave(2, 1)), head=head)),
    "head: shifted": Case(network(lambda m, z: m.head(functional.pad(z, (0, 0, 1, 0))[:, :-1]), head=head)),
    "head: differences": Case(network(lambda m, z: m.head(torch.diff(z, dim=1, prepend=torch.zeros_like(z[:, :1]))), head=head)),
    "head: forecast of fixed steps": Case(network(lambda m, z: m.head(z[:, -1]).unflatten(-1, (CLASSES, 1)), head=head)),
}
