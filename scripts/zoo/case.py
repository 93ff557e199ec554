"""One model of the zoo: its factory, its samples, and the outcome that a user would expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.digits.model import S4D

BATCH, LENGTH, FEATURES, WIDTH, CLASSES = 6, 32, 2, 4, 3


@dataclass(frozen=True)
class Case:
    """See the module.

    Attributes
    ----------
    make
        Returns the model; called once, after the generator of random numbers was seeded.
    samples
        Returns the samples: a tensor, a tuple, or a dictionary by input name.
    options
        Arguments of the build beside them.
    refused
        Pattern of the sentence that refuses the model, where no graph can compute it.
    streams
        Whether the artifact streams.
    """

    make: Callable[[], nn.Module]
    samples: Callable[[], Any] = field(default=lambda: signal())
    options: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None
    streams: bool = True


def signal(*sizes: int) -> Tensor:
    """Noise of a size, by default ``(batch, time, features)``."""
    return torch.randn(sizes or (BATCH, LENGTH, FEATURES), generator=torch.Generator().manual_seed(1))


def tokens(count: int = 11) -> Tensor:
    """Symbols ``(batch, time)``."""
    return torch.randint(count, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


class TimeMajor(nn.Module):
    """A layer of ``(batch, channels, time)`` that answers with a tuple, called on ``(batch, time, channels)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        y = self.layer(z.transpose(1, 2))
        return (y[0] if isinstance(y, tuple) else y).transpose(1, 2)  # type: ignore[no-any-return]  # layers are modules


def bank(width: int = WIDTH) -> nn.Module:
    """One S4D layer on ``(batch, time, channels)``."""
    return TimeMajor(S4D(width, 6))


class Function(nn.Module):
    """Layers and modules that a function uses: ``function(self, *inputs)``."""

    def __init__(self, function: Callable[..., Any], **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def network(
    function: Callable[[Any, Tensor], Any], layer: Callable[[], nn.Module] = bank, **modules: Callable[[], Any]
) -> Callable[[], nn.Module]:
    """Return a factory: encoder, one residual layer, and a function of ``(module, hidden)`` that may use further modules."""

    def whole(m: Any, x: Tensor) -> Any:
        z = m.encoder(x)
        return function(m, z + m.layer(z))

    return lambda: Function(
        whole, encoder=nn.Linear(FEATURES, WIDTH), layer=layer(), **{name: made() for name, made in modules.items()}
    )


def plain(function: Callable[[Any, Tensor], Any], **modules: Callable[[], Any]) -> Callable[[], nn.Module]:
    """Return a factory of a function of ``(module, inputs)`` with a layer ``bank`` and further modules."""
    return lambda: Function(function, bank=bank(), **{name: made() for name, made in modules.items()})
