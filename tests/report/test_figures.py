"""The figures behind the charts are those of the systems, and survive the way to the file and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssm2edge.artifact import ArtifactError, load_figures
from ssm2edge.stages.portray import layer_figures
from ssm2edge.systems.system import System
from tests.random_banks import random_bank, response_of
from tests.report_pages import close, large, odd, random_mimo
from tests.slow_cases import slow


def cut(bank: System, order: int) -> System:
    return System(bank.poles[:, :order], bank.B[:, :order], bank.C[:, :, :order], bank.D)


def test_errors_and_responses_are_those_of_the_impulse_responses() -> None:
    bank = random_bank(7, 8, seed=3, pairs=4)
    kept, taps = cut(bank, 4), 60
    figures = layer_figures("layer", bank, kept, taps)
    before, after = response_of(bank, taps + 1), response_of(kept, taps + 1)
    errors = np.linalg.norm(before - after, axis=1) / np.linalg.norm(before, axis=1)
    assert close(np.array(figures.errors), np.sort(errors))
    worst, median, best = figures.responses
    for response, channel in ((worst, errors.argmax()), (best, errors.argmin()), (median, np.argsort(errors)[3])):
        assert response.title.startswith(f"channel {channel},")
        times = np.array(response.times)
        assert (times[0], times[-1]) == (1, taps)
        assert close(np.array(response.impulse_before), before[channel, times])
        assert close(np.array(response.impulse_after), after[channel, times])
        # A response long enough for everything to die away, summed by the definition.
        long = [response_of(system, 4000)[channel] for system in (bank, kept)]
        for frequency, gains in list(zip(response.frequencies, zip(
            response.gain_before, response.gain_after, response.gain_error, strict=True), strict=True))[::17]:  # fmt: skip
            turns = np.exp(-2j * math.pi * frequency * np.arange(4000))
            sums = [abs(h @ turns) for h in (long[0], long[1], long[0] - long[1])]
            assert np.allclose(gains, sums, rtol=1e-3, atol=1e-6)


def test_hankel_values_are_those_of_the_hankel_matrix() -> None:
    bank = random_bank(5, 6, seed=4, largest=0.8)
    figures = layer_figures("layer", bank, cut(bank, 2), None)
    taps = response_of(bank, 401)[:, 1:]
    values = np.array([np.linalg.svd(h[np.add.outer(range(200), range(200))], compute_uv=False)[:6] for h in taps])
    relative = values / values[:, :1]
    lowest, median, largest = (np.array(row) for row in figures.hankel_before)
    assert np.allclose(lowest, relative.min(0), rtol=1e-2, atol=1e-6)
    assert np.allclose(median, np.median(relative, 0), rtol=1e-2, atol=1e-6)
    assert np.allclose(largest, relative.max(0), rtol=1e-2, atol=1e-6)


def test_no_pole_is_lost_or_moved_far() -> None:
    bank = random_bank(64, 32, seed=5, largest=0.9999)
    figures = layer_figures("layer", bank, cut(bank, 4), 100)
    upper = bank.poles[bank.poles.imag >= 0]
    assert sum(pole.count for pole in figures.poles_before) == len(upper)
    assert len(figures.poles_before) <= 300
    shown = torch.tensor([complex(pole.re, pole.im) for pole in figures.poles_before], dtype=torch.complex128)
    nearest = (upper[:, None] - shown).abs().amin(1)
    # Near the circle and the real axis, where small distances matter, poles are told apart more finely.
    assert float((nearest / (1 - upper.abs()).clamp_min(upper.angle().abs() * 0.5).clamp_min(0.05)).max()) < 1


def test_pairs_of_a_mimo_system_are_ranked_by_their_error() -> None:
    system = random_mimo(6, 3, 2, seed=1, quadratic=False)
    other = System(system.poles, system.B, system.C.clone(), system.D)
    other.C[1] *= 0.5
    figures = layer_figures("layer", system, other, 50)
    assert "output 1" in figures.responses[0].title
    assert "output 0" in figures.responses[-1].title
    assert figures.responses[-1].error == 0
    assert (figures.inputs, figures.outputs, len(figures.errors)) == (3, 2, 1)


@pytest.mark.parametrize("make", [slow(large), odd])
def test_read_back_they_are_the_same(tmp_path: Path, make: Any) -> None:
    _, figures = make()
    figures.save(tmp_path)
    first = (tmp_path / "report.json").read_bytes()
    assert load_figures(tmp_path / "report.json") == figures
    figures.save(tmp_path)
    assert (tmp_path / "report.json").read_bytes() == first
    assert len(first) < 400_000


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda value: value | {"schema": 2}, "schema 1"),
        (lambda value: value | {"more": 1}, "unknown key"),
        (lambda value: {key: value[key] for key in value if key != "layers"}, "lacks the key"),
        (lambda value: value | {"output_error": "small"}, "finite number"),
        (lambda value: [], "schema 1"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, damage: Any, said: str) -> None:
    odd()[1].save(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ArtifactError, match=said):
        load_figures(path)
