"""Structure: loops, containers, wrappers, layers used twice, other recurrent layers, precisions."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.activity.model import LRU
from zoo.case import FEATURES, LENGTH, WIDTH, Case, bank, network, plain, signal

functional = nn.functional


def encoder() -> nn.Module:
    """A linear encoder."""
    return nn.Linear(FEATURES, WIDTH)


def stack() -> nn.Module:
    """Three layers in a list."""
    return nn.ModuleList(bank() for _ in range(3))


def looped(m: Any, x: Tensor) -> Tensor:
    """Residual layers in a loop, their outputs summed as skips."""
    z, total = m.encoder(x), 0
    for layer in m.layers:
        z = z + functional.gelu(layer(z))
        total = total + z
    return total  # type: ignore[return-value]  # a tensor after the first turn


def flipped(m: Any, z: Tensor) -> Tensor:
    """Two directions by hand."""
    return z + m.back(z.flip(1)).flip(1)  # type: ignore[no-any-return]  # a module


def stepped(m: Any, z: Tensor) -> Tensor:
    """A cell in a loop over time."""
    state, answers = z.new_zeros(z.shape[0], WIDTH), []
    for t in range(z.shape[1]):
        state = m.cell(z[:, t], state)
        answers.append(state)
    return torch.stack(answers, 1)


class Lightning(nn.Module):
    """A task around a network, with what training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(lambda m, z: z)()
        self.loss = nn.CrossEntropyLoss()
        self.history: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """One step."""
        return self.loss(self.net(batch[0]), batch[1])  # type: ignore[no-any-return]  # a module

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]  # a module


class Stateful(nn.Module):
    """Answers with a state, too, which training ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(lambda m, z: z)()

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        return self.net(x), None


class Ensemble(nn.Module):
    """The mean of two networks."""

    def __init__(self) -> None:
        super().__init__()
        first = network(lambda m, z: m.head(z), head=lambda: nn.Linear(WIDTH, 2))()
        self.members = nn.ModuleDict({"first": first, "second": copy.deepcopy(first)})

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members.values()]).mean(0)


class Noisy(nn.Module):
    """Noise that stays on."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(lambda m, z: z)()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x))  # type: ignore[no-any-return]  # a module


def hooked() -> nn.Module:
    """A network with a hook that looks on."""
    net = network(lambda m, z: z)()
    seen: list[Any] = []

    def look(module: nn.Module, args: Any, answer: Tensor) -> None:
        seen.append(answer.shape)

    assert isinstance(net.layer, nn.Module)
    net.layer.register_forward_hook(look)
    return net


def of_precision(dtype: torch.dtype) -> Any:
    """Factory of a network in a precision."""
    return lambda: network(lambda m, z: z)().to(dtype)


def half_above() -> nn.Module:
    """A head in another precision."""
    net = network(lambda m, z: m.head(z.double()).float(), head=lambda: nn.Linear(WIDTH, WIDTH).double())()
    return net


CASES = {
    "structure: loop over layers": Case(plain(looped, encoder=encoder, layers=stack)),
    "structure: sequential": Case(
        lambda: nn.Sequential(nn.Linear(FEATURES, WIDTH), bank(), nn.GELU(), LRU(WIDTH, 4), nn.Linear(WIDTH, 2))
    ),
    "structure: layer last": Case(lambda: nn.Sequential(nn.Linear(FEATURES, WIDTH), LRU(WIDTH, 4))),
    "structure: layer first": Case(lambda: nn.Sequential(LRU(FEATURES, 4), nn.Linear(FEATURES, WIDTH))),
    "structure: nothing but the layer": Case(lambda: LRU(FEATURES, 4)),
    "structure: layer used twice": Case(network(lambda m, z: m.layer(torch.tanh(z)))),
    "structure: ensemble with equal weights": Case(Ensemble),
    "structure: checkpoint": Case(network(lambda m, z: checkpoint(m.more, z, use_reentrant=False), more=bank)),
    "structure: training wrapper": Case(Lightning),
    "structure: answer with a state": Case(Stateful),
    "structure: hook": Case(hooked),
    "structure: DataParallel": Case(lambda: nn.DataParallel(network(lambda m, z: z)())),
    "structure: compiled": Case(lambda: torch.compile(network(lambda m, z: z)())),  # type: ignore[arg-type, return-value]  # a module
    "structure: left in training mode": Case(lambda: network(lambda m, z: m.drop(z), drop=lambda: nn.Dropout(0.5))().train()),
    "structure: noise that stays on": Case(Noisy, refused="run to run|random|randn"),
    "structure: two directions by hand": Case(network(flipped, back=bank), streams=False),
    "structure: GRU": Case(network(lambda m, z: m.gru(z)[0], gru=lambda: nn.GRU(WIDTH, WIDTH, batch_first=True)), streams=False),
    "structure: LSTM": Case(
        network(lambda m, z: m.lstm(z)[0][:, -1], lstm=lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True)), streams=False
    ),
    "structure: cell in a loop": Case(network(stepped, cell=lambda: nn.GRUCell(WIDTH, WIDTH)), streams=False),
    "structure: transformer layer": Case(
        network(lambda m, z: m.encode(z), encode=lambda: nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True)), streams=False
    ),
    "structure: no layer of a known library": Case(
        lambda: nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU()), refused="no .*layer|found"
    ),
    "precision: float64": Case(of_precision(torch.float64), lambda: signal().double()),
    "precision: bfloat16": Case(of_precision(torch.bfloat16), lambda: signal().bfloat16()),
    "precision: float16": Case(of_precision(torch.float16), lambda: signal().half()),
    "precision: float64 above": Case(half_above, refused="take casts to another precision out"),
    "precision: samples in float64": Case(network(lambda m, z: z), lambda: signal().double()),
    "size: one channel": Case(lambda: nn.Sequential(LRU(1, 4), nn.Tanh()), lambda: signal(6, LENGTH, 1)),
    "size: one sequence": Case(network(lambda m, z: z), lambda: signal(2, LENGTH, FEATURES)),
}
