"""Tiny models, each called and answering in one of the ways in which people write them.

Every model holds one S4D layer of six states, two of which nothing observes: at four states it computes the same.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.digits.model import S4D

CHANNELS, FEATURES, LENGTH, HELD_OUT = 4, 2, 24, 6
DIGITS, SPEAKERS, DIMENSIONS = 5, 3, 40


class Core(nn.Module):
    """``(batch, time, features)`` through one layer, and what several of the models put behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(FEATURES, CHANNELS)
        self.layer = S4D(CHANNELS, 6)
        with torch.no_grad():
            self.layer.kernel.C[:, 2] = 0.0
        self.digit = nn.Linear(CHANNELS, DIGITS)
        self.speaker = nn.Linear(CHANNELS, SPEAKERS)
        self.embed = nn.Linear(DIMENSIONS, CHANNELS)

    def states(self, signal: Tensor) -> Tensor:
        """Return what the layer gives, ``(batch, time, channels)``."""
        y: Tensor = self.layer(self.encoder(signal).mT)[0]
        return y.mT


class Keywords(Core):
    """Inputs by keyword only, one of them an option."""

    def forward(self, *, signal: Tensor, offset: Tensor, gain: Tensor | None = None, scale: float = 2.0) -> Tensor:
        z = self.states(signal + offset)
        return scale * (z if gain is None else z * gain)


class Options(Core):
    """Options that the samples give, others that they leave out, and any further keyword."""

    def forward(self, signal: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None, **others: Any) -> Tensor:
        assert lengths is None
        assert not others
        z = self.states(signal)
        return z if mask is None else z * mask[..., None]


class AnyKeyword(Core):
    """Takes inputs that its signature does not name."""

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.states(inputs["signal"]) * inputs["gain"]


class OfABatch(Core):
    """One dictionary in, one out; two entries are called alike."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        z = self.states(batch["signal"])
        return {"signal": z, "masked mean": (z * batch["mask"][..., None]).mean(1), "mask": batch["mask"] * 2.0}


class Dictionary(Core):
    """A dictionary with entries that are no tensors of the sequences."""

    def forward(self, signal: Tensor) -> dict[str, Any]:
        z = self.states(signal)
        entries = {"loss": None, "logits": self.digit(z), "temperature": 1.5, "kind": "digits"}
        return {**entries, "penalty": z.square().mean(), "layers": {"first": z, "all": [z, z.mean(1)]}}


@dataclass
class Scores:
    """A plain dataclass."""

    logits: Tensor
    features: Tensor
    loss: float | None = None


class Dataclass(Core):
    """A dataclass as the answer."""

    def forward(self, signal: Tensor) -> Scores:
        z = self.states(signal)
        return Scores(self.digit(z.mean(1)), z)


class ModelOutput(OrderedDict[str, Any]):
    """The answer of a well-known library: a dictionary that is a dataclass, and holds what is not None."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # its subclasses are dataclasses
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]


@dataclass
class Classified(ModelOutput):
    """One of its kind."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class OfALibrary(Core):
    """A dictionary that is a dataclass, with a tuple of tensors in it."""

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None, return_dict: bool = True) -> Classified:
        z = self.states(input_values)
        if attention_mask is not None:
            z = z * attention_mask[..., None]
        return Classified(logits=self.digit(z.mean(1)), hidden_states=(self.encoder(input_values), z))


class Pair(NamedTuple):
    """A named tuple."""

    mean: Tensor
    linear: Tensor


class Named(Core):
    """A named tuple, whose names are those of operations."""

    def forward(self, signal: Tensor) -> Pair:
        z = self.states(signal)
        return Pair(z.mean(1), self.digit(z))


class Nested(Core):
    """Tuples within a list, and nothing in between."""

    def forward(self, signal: Tensor) -> Any:
        z = self.states(signal)
        return [self.digit(z), (None, (z, z.mean(1))), None]


class WithState(Core):
    """The published form of many layers: the output, and a state that is not there."""

    def forward(self, signal: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return self.digit(self.states(signal)), state


class Heads(Core):
    """Two heads of classes, and one that predicts."""

    def forward(self, signal: Tensor) -> dict[str, Tensor]:
        z = self.states(signal)
        return {"digit": self.digit(z.mean(1)), "speaker": self.speaker(z), "power": z}


class Masked(Core):
    """A mask of bits."""

    def forward(self, signal: Tensor, mask: Tensor) -> Tensor:
        return self.digit(self.states(signal).masked_fill(~mask[..., None], 0.0).mean(1))


class MeanOfLengths(Core):
    """The mean over as many samples as each sequence has."""

    def forward(self, signal: Tensor, lengths: Tensor) -> Tensor:
        z = self.states(signal)
        inside = torch.arange(signal.shape[1]) < lengths[:, None]
        return self.digit((z * inside[..., None]).sum(1) / lengths[:, None].clamp(min=1))


class LastOfLengths(Core):
    """The last sample of each sequence."""

    def forward(self, signal: Tensor, lengths: Tensor) -> Tensor:
        z = self.states(signal)
        return self.digit(z[torch.arange(z.shape[0]), lengths - 1])


class OfASpeaker(Core):
    """An embedding for the whole sequence, added to each of its samples; it stands before the sequence."""

    def forward(self, speaker: Tensor, signal: Tensor) -> dict[str, Tensor]:
        z = self.states(signal) + self.embed(speaker)[:, None]
        return {"samples": z, "score": self.digit(z.mean(1))}


def samples(**shapes: str) -> dict[str, np.ndarray]:
    """Held-out and calibration samples by input, of the kinds below; "steps" is one number a step."""
    generator = np.random.default_rng(0)
    made = {
        "signal": lambda count: generator.standard_normal((count, LENGTH, FEATURES)).astype(np.float32),
        "steps": lambda count: generator.standard_normal((count, LENGTH, 1)).astype(np.float32),
        "mask": lambda count: (np.arange(LENGTH) < generator.integers(LENGTH // 2, LENGTH + 1, (count, 1))).astype(np.float32),
        "bits": lambda count: generator.random((count, LENGTH)) < 0.7,
        "lengths": lambda count: generator.integers(LENGTH // 2, LENGTH + 1, count),
        "vector": lambda count: generator.standard_normal((count, DIMENSIONS)).astype(np.float32),
    }
    parts = (("held_out", HELD_OUT), ("calibration", 40))
    return {f"{part}.{name}": made[kind](count) for part, count in parts for name, kind in shapes.items()}
