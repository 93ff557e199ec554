"""Models trained without a constraint on their poles, as s5-pytorch's are: built by stable layers, shown, or refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from s5 import S5
from torch import Tensor, nn

import ssm2edge
from tests.slow_cases import slow

LENGTH = 96


class Classifier(nn.Module):
    """A layer of s5-pytorch between linear maps, in whose modes poles of modulus 1.004 are planted."""

    def __init__(self, modulus: float = 1.004, states: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.norm = nn.Linear(1, 12), nn.LayerNorm(12)
        self.layer, self.decoder = S5(12, states), nn.Linear(12, 3)
        with torch.no_grad():
            modes, step = self.layer.seq.Lambda, self.layer.seq.log_step.exp().flatten()
            modes[:3] = torch.complex(math.log(modulus) / step[:3], modes[:3].imag)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        return self.decoder((z + nn.functional.gelu(self.layer(self.norm(z)))).mean(1))


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tones of three pitches in noise, and which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    turns = (5 + 6 * labels)[:, None] * torch.arange(LENGTH) / LENGTH + torch.rand(count, 1, generator=generator)
    return (torch.sin(2 * math.pi * turns) + 0.3 * torch.randn(count, LENGTH, generator=generator))[..., None], labels


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = Classifier()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(120):
        x, labels = tones(48, 100 + step)
        loss = nn.functional.cross_entropy(model(x), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships no type for it
        optimiser.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"keep": 1 / 3}, {"keep": 1.0}])
def test_builds_lose_half_a_point_at_most_and_are_stable(trained: nn.Module, tmp_path: Path, options: dict[str, float]) -> None:
    x, labels = tones(400, 1)
    built = ssm2edge.build(trained, tones(150, 2)[0], tmp_path / "out", held_out=x, labels=labels.numpy(), **options)  # type: ignore[arg-type]  # floats are options
    (layer,) = built.manifest.layers
    accuracy = built.manifest.accuracy
    assert accuracy is not None
    assert accuracy.original > 0.95
    assert accuracy.original - accuracy.artifact <= 0.005
    assert layer.spectral_radius < 1
    assert layer.spectral_radius_before > 1.001
    if options["keep"] == 1:
        assert layer.outcomes == {"repaired": 1}
        assert layer.h2_error_relative < 0.05
    assert built.verify().passed


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [None, 2 * LENGTH])
def test_graphs_refuse_sequences_behind_the_horizon(horizon: int | None, tmp_path: Path) -> None:
    """Behind it the original grows and its imitation does not."""
    longest = horizon or LENGTH
    given = {} if horizon is None else {"horizon": horizon}
    model = Classifier(1.0005, 4)
    built = ssm2edge.build(model, tones(4, 0)[0], tmp_path / "out", order=2, calibrate="none", **given)  # type: ignore[arg-type]  # numbers are options
    assert dict(built.manifest.lengths) == {"shortest": 1, "longest": longest}
    assert f"a stable layer imitates it on {longest} samples" in (built.decided or "")
    u = torch.zeros(1, longest + 1, 1).numpy()
    built.run(u[:, :longest])
    with pytest.raises(ssm2edge.Error, match=f"no more than {longest}"):
        built.run(u)
    with built.stream() as stream:
        stream.push(u[:, :longest])
        with pytest.raises(ssm2edge.Error, match=f"no more than {longest}"):
            stream.push(u[:, :1])


@pytest.mark.parametrize("horizon", [slow(LENGTH), "inf"])
def test_inspection_shows_unstable_layers(horizon: int | str) -> None:
    found = ssm2edge.inspect(Classifier(states=4), tones(4, 0)[0], horizon=horizon)
    (layer,) = found.layers
    assert layer.spectral_radius == pytest.approx(1.004, abs=1e-5)
    assert layer.horizon == LENGTH
    assert all(math.isfinite(cost) for cost in layer.costs.values())
    assert "not stable" in str(found)


@pytest.mark.parametrize(
    ("modulus", "horizon", "said"),
    [
        (1.004, "inf", "is not stable: it has a pole of modulus 1.004; train it so"),
        (2.5, LENGTH, "grows by more than 1e+30 on 96"),
    ],
)
def test_growth_without_limit_is_refused_in_one_sentence(modulus: float, horizon: str | int, said: str, tmp_path: Path) -> None:
    with pytest.raises(ssm2edge.Error, match=said.replace("+", r"\+")):
        ssm2edge.build(Classifier(modulus), tones(4, 0)[0], tmp_path / "out", order=4, calibrate="none", horizon=horizon)
    assert not (tmp_path / "out").exists()
