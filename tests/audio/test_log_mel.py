"""The front end of models that hear, against sums written out and against itself in pieces."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssm2edge.audio import LogMel, LogMelStream

FRONT_END = LogMel(sample_rate=8000, window=200, hop=80, mels=20)
GENERATOR = np.random.default_rng(0)
SIGNAL = GENERATOR.normal(size=2000).astype(np.float32) * 0.1


def tone(frequency: float, amplitude: float = 1.0) -> NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(2000) / FRONT_END.sample_rate)


def test_frame_is_the_filtered_power_of_its_window_written_out() -> None:
    frame = 7
    part = SIGNAL[frame * 80 : frame * 80 + 200].astype(np.float64)
    n = np.arange(200)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 200)
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 22) / 2595) - 1)
    energies = np.zeros(20)
    for k in range(129):
        power = abs(np.sum(part * hann * np.exp(-2j * np.pi * k * n / 256)) * 2 / hann.sum()) ** 2
        for mel in range(20):
            weight = np.interp(k * 8000 / 256, edges[mel : mel + 3], [0, 1, 0], left=0, right=0)
            energies[mel] += weight * power
    np.testing.assert_allclose(FRONT_END.frames(SIGNAL)[frame], np.log(np.maximum(energies, 1e-6)), rtol=1e-4, atol=1e-4)


def test_number_of_frames_is_that_of_whole_windows() -> None:
    assert [len(FRONT_END.frames(np.zeros(count))) for count in (0, 199, 200, 279, 280, 1000)] == [0, 0, 1, 1, 2, 11]


def test_tone_is_loudest_where_its_frequency_lies_and_rises_with_its_level() -> None:
    centres = [int(FRONT_END.frames(tone(frequency))[3].argmax()) for frequency in (200, 500, 1000, 2000, 3500)]
    assert centres == sorted(set(centres))
    loud, quiet = FRONT_END.frames(tone(1000)), FRONT_END.frames(tone(1000, 0.1))
    np.testing.assert_allclose(loud.max(1) - quiet.max(1), np.log(100), atol=1e-3)


def test_silence_is_the_floor() -> None:
    np.testing.assert_allclose(FRONT_END.frames(np.zeros(400)), np.log(1e-6), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_pieces_give_the_frames_of_the_whole(cuts: list[int]) -> None:
    stream = LogMelStream(FRONT_END)
    parts = [stream.push(piece) for piece in np.split(SIGNAL, sorted(cuts))]
    np.testing.assert_allclose(np.concatenate(parts), FRONT_END.frames(SIGNAL), atol=1e-6)


def test_hop_longer_than_the_window_skips_samples() -> None:
    front_end = LogMel(sample_rate=8000, window=100, hop=160, mels=10)
    stream = LogMelStream(front_end)
    parts = [stream.push(piece) for piece in np.split(SIGNAL, [30, 101, 140, 161, 900])]
    np.testing.assert_allclose(np.concatenate(parts), front_end.frames(SIGNAL), atol=1e-6)
