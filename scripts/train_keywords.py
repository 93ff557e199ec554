"""Train models/keywords on spoken words and write its weights, samples and recordings.

Ten words, spoken by the speech synthesiser ``espeak-ng`` (Debian package of that name) in eight accents, about a hundred voices,
many speeds and pitches, in white or pink noise at 0 to 20 dB.  Every eighth voice is held out.  Nothing of it is a human voice:
figures on it say what reduction does to such a model, not how well the model hears people.  Speech is kept in ``--speech`` and
spoken once; interrupted runs go on from their last epoch.

    python scripts/train_keywords.py [--speech DIR] [--epochs 24] [--seed 0]
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.signal
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from training import Recipe, save_samples, train_classifier

from ssm2edge.audio.log_mel import LogMel

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "keywords"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
FRONT_END = LogMel(sample_rate=16000, window=400, hop=160, mels=40)
SECOND = FRONT_END.sample_rate
TRAINING, HELD_OUT, CALIBRATION = 5000, 1000, 300
PLACEMENTS = 2
STEP = 0.5
"""Resolution of the stored log energies (2 dB), for small files."""

Speech = NDArray[np.float32]


def voices() -> list[str]:
    """Names of the synthesiser's voices, in a fixed order."""
    done = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True)
    files = [line.split()[-1] for line in done.stdout.splitlines() if "!v/" in line]
    return sorted({file.removeprefix("!v/") for file in files if file.startswith("!v/")})


def spoken(word: str, accent: str, voice: str, speed: int, pitch: int) -> Speech | None:
    """The word as spoken, at 16 kHz, without the silence around it; None if it takes over a second or is not there."""
    command = ["espeak-ng", "-v", f"{accent}+{voice}", "-s", str(speed), "-p", str(pitch), "--stdout", word]
    done = subprocess.run(command, check=True, capture_output=True)
    with wave.open(io.BytesIO(done.stdout)) as recording:
        rate = recording.getframerate()
        content = recording.readframes(1 << 24)
    raw = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float64) / 2**15
    signal = scipy.signal.resample_poly(raw, SECOND // np.gcd(SECOND, rate), rate // np.gcd(SECOND, rate))
    loud = np.flatnonzero(np.abs(signal) > 0.02 * np.abs(signal).max(initial=0.0))
    if len(loud) < SECOND // 20 or loud[-1] - loud[0] > 0.95 * SECOND:
        return None
    trimmed: Speech = signal[loud[0] : loud[-1] + 1].astype(np.float32)
    return trimmed


def speak(count: int, speakers: list[str], seed: int, folder: Path, name: str) -> tuple[list[Speech], NDArray[np.int64]]:
    """Utterances of random words by these voices, and their words; spoken once and then read from ``folder``."""
    file = folder / f"{name}.npz"
    if not file.exists():
        generator = np.random.default_rng(seed)
        utterances, labels = [], []
        for index in track(range(count), f"speaking ({name})"):
            utterance = None
            while utterance is None:
                accent, voice = ACCENTS[generator.integers(len(ACCENTS))], speakers[generator.integers(len(speakers))]
                speed, pitch = int(generator.integers(120, 220)), int(generator.integers(20, 80))
                utterance = spoken(WORDS[index % len(WORDS)], accent, voice, speed, pitch)
            utterances.append(utterance)
            labels.append(index % len(WORDS))
        ends = np.cumsum([len(utterance) for utterance in utterances])
        np.savez(file, signal=np.concatenate(utterances).astype(np.float16), ends=ends, labels=np.array(labels, np.int64))
    with np.load(file) as archive:
        signal, ends, words = archive["signal"].astype(np.float32), archive["ends"], archive["labels"]
    return np.split(signal, ends[:-1]), words


def pink(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose power falls with frequency."""
    spectrum = np.fft.rfft(generator.normal(size=count))
    spectrum /= np.sqrt(np.arange(len(spectrum)) + 20.0)
    noise = np.fft.irfft(spectrum, n=count)
    scaled: NDArray[np.float64] = noise / noise.std()
    return scaled


def in_noise(utterance: Speech, generator: np.random.Generator) -> Speech:
    """One second with the utterance somewhere in it, in noise, at a random level."""
    noise = pink(SECOND, generator) if generator.random() < 0.5 else generator.normal(size=SECOND)
    ratio = 10 ** (generator.uniform(0, 20) / 20)
    signal = noise / ratio
    start = generator.integers(SECOND - len(utterance) + 1)
    signal[start : start + len(utterance)] += utterance / max(float(utterance.std()), 1e-9)
    level = 10 ** (generator.uniform(-35, -20) / 20)
    return np.clip(level * signal, -1, 1).astype(np.float32)


def frames_of(utterances: list[Speech], placements: int, seed: int) -> NDArray[np.float32]:
    """Log-mel frames ``(placements * count, 98, 40)`` of every utterance in noise, in steps of ``STEP``."""
    generator = np.random.default_rng(seed)
    clips = (FRONT_END.frames(in_noise(u, generator)) for _ in range(placements) for u in utterances)
    return (np.round(np.stack(list(clips)) / STEP) * STEP).astype(np.float32)


Part = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Frames ``(count, 98, 40)`` and words ``(count,)``."""


def read_parts(speech: Path | None) -> tuple[Part, Part]:
    """Training part and held-out voices, in noise; spoken first if the folder does not hold them yet."""
    speakers = voices()
    with tempfile.TemporaryDirectory() as temporary:
        folder = speech or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        others = [voice for index, voice in enumerate(speakers) if index % 8]
        training, train_y = speak(TRAINING, others, 1, folder, "training")
        held_out, test_y = speak(HELD_OUT, speakers[::8], 2, folder, "held_out")
    return (frames_of(training, PLACEMENTS, 3), np.tile(train_y, PLACEMENTS)), (frames_of(held_out, 1, 4), test_y)


def recording(words: tuple[str, ...], voice: str, seed: int) -> Speech:
    """Words of one voice, half a second or more of faint noise before, between and after them."""
    generator = np.random.default_rng(seed)
    parts: list[NDArray[Any]] = [np.zeros(SECOND)]
    for word in words:
        utterance = spoken(word, "en-us", voice, 160, 50)
        assert utterance is not None
        pause = np.zeros(int(generator.uniform(0.7, 1.0) * SECOND))
        parts += [0.05 * utterance / max(float(utterance.std()), 1e-9), pause]
    signal = np.concatenate(parts)
    return (signal + 0.005 * pink(len(signal), generator)).astype(np.float32)


def write_recordings(directory: Path) -> None:
    """Write ``word.wav`` and ``words.wav``, of voices that are held out."""
    for name, words, voice in (("word", ("right",), "m3"), ("words", ("yes", "left", "stop", "go"), "f1")):
        with wave.open(str(directory / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SECOND)
            file.writeframes((np.clip(recording(words, voice, 0), -1, 1) * 32767).astype("<i2").tobytes())


def take_raw_frames(encoder: nn.Linear, mean: Tensor, deviation: Tensor) -> None:
    """Fold ``(frames - mean) / deviation`` into the layer that training fed with them."""
    with torch.no_grad():
        encoder.weight.div_(deviation)
        encoder.bias.sub_(encoder.weight @ mean)


def masked(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Change the level, and blank a band of up to eight mels (augmentation of the training part)."""
    count, _, mels = frames.shape
    frames = frames + 0.2 * torch.randn(count, 1, 1, generator=generator)
    start = torch.randint(0, mels, (count, 1, 1), generator=generator)
    width = torch.randint(0, 9, (count, 1, 1), generator=generator)
    band = (torch.arange(mels) >= start) & (torch.arange(mels) < start + width)
    return torch.where(band, frames.mean((1, 2), keepdim=True), frames)


@click.command()
@click.option("--speech", type=click.Path(path_type=Path), help="Folder that keeps the synthesised speech.")
@click.option("--epochs", default=24, show_default=True)
@click.option("--batch", default=50, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(speech: Path | None, epochs: int, batch: int, learning_rate: float, seed: int, output: Path) -> None:
    """Train, print the held-out accuracy after each epoch, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    (train_x, train_y), (test_x, test_y) = read_parts(speech)
    output.mkdir(parents=True, exist_ok=True)
    write_recordings(output)
    chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
    save_samples(output, "frames", train_x[chosen].astype(np.float16), test_x.astype(np.float16), test_y)
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    mean, deviation = (torch.from_numpy(value) for value in (train_x.mean((0, 1)), train_x.std((0, 1))))
    train_classifier(
        model,
        ((torch.from_numpy(train_x) - mean) / deviation, torch.from_numpy(train_y)),
        ((torch.from_numpy(test_x) - mean) / deviation, torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        masked,
    )
    take_raw_frames(model.encoder, mean, deviation)
    save_file(model.state_dict(), output / "weights.safetensors")


if __name__ == "__main__":
    main()
