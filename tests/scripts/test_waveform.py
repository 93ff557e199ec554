"""Training of models/spoken_waveform: the clips it hears, and the model they go to."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from scripts import train_waveform
from scripts.model_modules import load_model_module


def record(folder: Path) -> None:
    """Write six recordings each of two digits by two people."""
    generator = np.random.default_rng(0)
    for digit in (3, 7):
        for speaker in ("ada", "eve"):
            for number in range(6):
                with wave.open(str(folder / f"{digit}_{speaker}_{number}.wav"), "wb") as content:
                    content.setnchannels(1)
                    content.setsampwidth(2)
                    content.setframerate(8000)
                    content.writeframes(generator.integers(-3000, 3000, 2000).astype("<i2").tobytes())


def test_prepared_samples_are_clips_of_the_customary_part_that_the_model_takes(tmp_path: Path) -> None:
    record(tmp_path)
    done = CliRunner().invoke(train_waveform.main, [str(tmp_path), "--prepare-only", "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    samples = np.load(tmp_path / "out" / "samples.npz")
    assert samples["held_out.sound"].shape == (4 * 20, train_waveform.LENGTH, 1)
    assert sorted(set(samples["labels"].tolist())) == [3, 7]
    assert samples["calibration.sound"].shape == (3 * 4, train_waveform.LENGTH, 1)
    assert 0 < np.abs(samples["calibration.sound"]).max() <= 1
    model = load_model_module(train_waveform.MODEL_DIRECTORY).make()
    assert model(torch.from_numpy(samples["held_out.sound"][:2]).float()).shape == (2, 10)


def test_a_folder_without_recordings_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(train_waveform.main, [str(tmp_path), "--prepare-only", "--output", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "holds no recording" in done.output
    assert not (tmp_path / "out").exists()


def test_shifted_sounds_have_the_same_spectra_but_for_their_levels() -> None:
    sound = torch.randn(5, 6400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = train_waveform.shifted(sound, torch.Generator().manual_seed(1))
    before, after = (torch.fft.rfft(x[..., 0]).abs() for x in (sound, moved))
    levels = (moved.norm(dim=(1, 2)) / sound.norm(dim=(1, 2))).unsqueeze(-1)
    assert levels.squeeze().tolist() != pytest.approx([1.0] * 5)
    torch.testing.assert_close(after, levels * before)
