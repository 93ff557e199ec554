"""A model that has every streaming rule at least once: what ``compare_streams.py`` and the tests of streams run."""

from __future__ import annotations

from pathlib import Path

import torch
from model_modules import load_model_module
from torch import Tensor, nn
from torch.nn import functional

from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.traced import InputAxes, TracedModel, trace

MODELS = Path(__file__).resolve().parents[1] / "models"
WIDTH, TOKENS, FRAME = 4, 7, 4


class EveryRule(nn.Module):
    """``tokens (batch, time)`` and ``sound (batch, 2, time)`` to three sequences, of three rates, and three final answers.

    Random weights that neither grow nor vanish.

    Parameters
    ----------
    frames
        Whether the model goes to a lower rate and back; without that, it streams sample by sample.
    """

    def __init__(self, frames: bool = True) -> None:
        super().__init__()
        self.frames = frames
        bank = load_model_module(MODELS / "digits").S4D
        recurrence = load_model_module(MODELS / "sysid").LRU
        self.table = nn.Embedding(TOKENS, WIDTH)
        self.encoder = nn.Linear(2, WIDTH)
        self.front = nn.Conv1d(WIDTH, WIDTH, 3, padding=2)
        self.dilated = nn.Conv1d(WIDTH, WIDTH, 2, dilation=5)
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, 4, groups=WIDTH, padding=3)
        self.grouped = nn.Conv1d(WIDTH, 2 * WIDTH, 3, groups=2)
        self.above, self.below, self.inner = bank(WIDTH, 6), bank(WIDTH, 7), bank(6, 6)
        self.recurrence = recurrence(WIDTH, 8, 2)
        self.norm = nn.LayerNorm(WIDTH)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.down = nn.Linear(FRAME * WIDTH, 6)
        self.up = nn.Linear(6, FRAME * WIDTH)
        self.widen = nn.Conv1d(WIDTH, 6, 1)
        self.shrink = nn.Conv1d(WIDTH, WIDTH, FRAME, stride=FRAME)
        self.grow = nn.ConvTranspose1d(WIDTH, 3, 4, stride=2)
        self.head = nn.Linear(3 * WIDTH, 3)

    def forward(self, tokens: Tensor, sound: Tensor) -> tuple[Tensor, ...]:
        z = self.table(tokens).mT + self.encoder(sound.mT).mT
        z = z + functional.silu(self.front(z)[..., :-2])
        z = z + self.dilated(functional.pad(z, (5, 0))).tanh()
        z = z + self.depthwise(z)[:, :, : z.shape[2]]
        z = self.batch_norm(functional.glu(self.grouped(torch.cat([torch.zeros_like(z[:, :, :2]), z], 2)), 1))
        z = z + self.above(z)[0]
        z = z + self.recurrence(self.norm(z.mT)).mT
        z, low = self.pyramid(z) if self.frames else (z, self.inner(self.widen(z))[0])
        slow = functional.interpolate(z.cumsum(2) / torch.ones_like(z).cumsum(2), scale_factor=2)
        doubled = self.grow(z)[..., : 2 * z.shape[2]] + slow[:, :3]
        answer = self.head(torch.cat([z.mean(2), z.amax(2), z[:, :, -1]], 1))
        return z.mT, low, doubled, answer, torch.cat([z.amin(2), low.max(2).values], 1), z.sum((1, 2))

    def pyramid(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Frames at a quarter of the rate, one frame late when they come back, as every model of this kind does it."""
        batch = z.shape[0]
        frames = z.reshape(batch, WIDTH, z.shape[2] // FRAME, FRAME).transpose(2, 3).reshape(batch, FRAME * WIDTH, -1)
        low = self.inner(self.down(frames.mT).mT)[0]
        late = functional.pad(self.up(low.mT).mT[..., :-1], (1, 0))
        z = z + late.view(batch, WIDTH, FRAME, -1).transpose(2, 3).reshape(batch, WIDTH, -1).tanh()
        means = functional.avg_pool1d(z, FRAME) + self.shrink(z) + z[..., ::FRAME] + z.unfold(2, FRAME, FRAME).amax(3)
        return self.below(z + functional.pad(means[..., :-1], (1, 0)).repeat_interleave(FRAME, 2))[0], low


def every_rule(frames: bool = True) -> nn.Module:
    """The model in eval mode, its batch norm as after training."""
    torch.manual_seed(0)
    model = EveryRule(frames)
    with torch.no_grad():
        for parameter in model.inner.parameters():
            parameter.mul_(0.9)
        model(torch.randint(0, TOKENS, (8, 400)), torch.randn(8, 2, 400))
    return model.eval()


def in_blocks(model: nn.Module) -> nn.Module:
    """The model with every layer as a block of its own order."""
    return replace_layers(model, {layer.name: layer.system for layer in find_layers(model)})


def traced_every_rule(blocks: nn.Module) -> TracedModel:
    """The traced form of a model of blocks."""
    inputs = [
        InputAxes("tokens", 1, torch.zeros(1, 8, dtype=torch.int64)),
        InputAxes("sound", 2, torch.zeros(1, 2, 8)),
    ]
    return trace(exportable(blocks), inputs)
