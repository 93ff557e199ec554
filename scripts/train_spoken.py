"""Train models/spoken on the Free Spoken Digit Dataset and write its weights, samples and recordings.

3,000 recordings of six people who speak the ten digits, 8,000 samples a second (Jackson et al., CC BY-SA 4.0).  The data are in
no package and are not shipped: give the folder ``recordings``.  Held out are, as is customary, recordings 0 to 4 of each person
and digit; with ``--without NAME`` all of one person, whose accuracy goes to results/speakers.json and whose weights are not kept.
Every recording is brought to a level and stands in faint noise; interrupted runs go on from their last epoch.

    python scripts/train_spoken.py RECORDINGS [--epochs 6] [--seed 0]
    python scripts/train_spoken.py RECORDINGS --prepare-only
    python scripts/train_spoken.py RECORDINGS --without theo --output DIR
"""

from __future__ import annotations

import functools
import json
import wave
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import scipy.signal
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from safetensors.torch import save_file
from train_keywords import masked, take_raw_frames
from training import Recipe, modal_kernel, save_samples, train_classifier

from ssm2edge.audio.log_mel import LogMel

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "spoken"
FRONT_END = LogMel(sample_rate=8000, window=200, hop=80, mels=32)
SECOND = FRONT_END.sample_rate
SPAN = 80
SAMPLES = FRONT_END.hop * (SPAN - 1) + FRONT_END.window
CUSTOMARY = range(5)
"""Numbers of the recordings of each person and digit that are held out."""
VERSIONS, HELD_OUT_VERSIONS, CALIBRATION = 10, 4, 300
STEP = 0.5
"""Resolution of the stored log energies (2 dB), for small files."""

Signal = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recording:
    """One digit.

    Attributes
    ----------
    digit, speaker, number
        As the file's name says.
    signal
        From -1 to 1.
    """

    digit: int
    speaker: str
    number: int
    signal: Signal


def read(folder: Path) -> list[Recording]:
    """Return all recordings, by name.

    Raises
    ------
    SystemExit
        If there are none.
    """
    recordings = []
    for file in sorted(folder.glob("?_*_*.wav")):
        digit, speaker, number = file.stem.split("_")
        with wave.open(str(file)) as content:
            raw = np.frombuffer(content.readframes(content.getnframes()), "<i2")
        recordings.append(Recording(int(digit), speaker, int(number), (raw / 2**15).astype(np.float32)))
    if not recordings:
        raise SystemExit(f"{folder} holds no recording (0_name_0.wav); name the folder recordings of the published archive.")
    return recordings


def noise(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return white noise, or noise whose power falls with frequency, of deviation one."""
    white = generator.normal(size=count)
    if generator.random() < 0.5:
        return white
    spectrum = np.fft.rfft(white) / np.sqrt(np.arange(count // 2 + 1) + 20.0)
    pink = np.fft.irfft(spectrum, n=count)
    scaled: NDArray[np.float64] = pink / pink.std()
    return scaled


def clip(signal: Signal, generator: np.random.Generator, varied: bool) -> Signal:
    """Return a clip of one answer's length with the recording near its start, in faint noise, at a random level.

    Parameters
    ----------
    signal
        One digit.
    generator
        Of all that is random.
    varied
        Change the speed by up to a tenth, too, with louder noise and levels of a wider range.
    """
    if varied:
        signal = scipy.signal.resample_poly(signal, 100, int(generator.integers(90, 111))).astype(np.float32)
    loudness = 10 ** (generator.uniform(*((-35, -12) if varied else (-28, -18))) / 20)
    faintness = 10 ** (generator.uniform(*((-45, -12) if varied else (-40, -25))) / 20)
    sound = loudness * noise(SAMPLES, generator) * faintness
    start = int(generator.integers(*((2, 20) if varied else (8, 14)))) * FRONT_END.hop
    kept = signal[: SAMPLES - start]
    sound[start : start + len(kept)] += loudness * kept / max(float(signal.std()), 1e-9)
    return np.clip(sound, -1, 1).astype(np.float32)


def frames_of(
    recordings: list[Recording], versions: int, seed: int, varied: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return log-mel frames ``(versions * count, SPAN, mels)`` in steps of ``STEP``, and the digits."""
    generator = np.random.default_rng(seed)
    clips = [FRONT_END.frames(clip(r.signal, generator, varied)) for _ in range(versions) for r in recordings]
    digits = np.array([r.digit for r in recordings] * versions, np.int64)
    return (np.round(np.stack(clips) / STEP) * STEP).astype(np.float32), digits


def write_recording(folder: Path, speaker: str, recordings: list[Recording], seed: int) -> None:
    """Write the ten digits of one person with pauses between them, in faint noise; the file's name says in which order."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(10)
    parts = [np.zeros(SECOND)]
    for digit in order:
        own = [recording for recording in recordings if recording.digit == digit]
        signal = own[generator.integers(len(own))].signal
        parts += [0.1 * signal / signal.std(), np.zeros(int(generator.uniform(0.5, 0.9) * SECOND))]
    sound = np.concatenate(parts)
    sound = np.clip(sound + 0.002 * noise(len(sound), generator), -1, 1)
    with wave.open(str(folder / f"{speaker}-{''.join(map(str, order))}.wav"), "wb") as content:
        content.setnchannels(1)
        content.setsampwidth(2)
        content.setframerate(SECOND)
        content.writeframes((sound * 32767).astype("<i2").tobytes())


def split(recordings: list[Recording], without: str | None) -> tuple[list[Recording], list[Recording]]:
    """Return the training part and what is held out: the customary recordings, or one person."""
    held_out = [r for r in recordings if (r.number in CUSTOMARY if without is None else r.speaker == without)]
    if not held_out:
        raise SystemExit(f"Nobody is called {without}: " + ", ".join(sorted({r.speaker for r in recordings})) + ".")
    kept = {id(recording) for recording in held_out}
    return [r for r in recordings if id(r) not in kept], held_out


def note_speaker(directory: Path, speaker: str, figures: dict[str, float]) -> None:
    """Keep the figures of a model that never heard a person, beside those of others."""
    results = directory / "results" / "speakers.json"
    results.parent.mkdir(exist_ok=True)
    known = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    known |= {speaker: figures}
    results.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--without", help="Hold out this person, and record the accuracy alone.")
@click.option("--prepare-only", is_flag=True, help="Write samples.npz and the recordings, and train nothing.")
@click.option("--epochs", default=6, show_default=True)
@click.option("--batch", default=50, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    folder: Path, without: str | None, prepare_only: bool, epochs: int, batch: int, learning_rate: float, seed: int, output: Path
) -> None:
    """Train, print the held-out accuracy after each epoch, write weights.safetensors, samples.npz and recordings."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    training, held_out = split(read(folder), without)
    train_x, train_y = frames_of(training, VERSIONS, 1, varied=True)
    test_x, test_y = frames_of(held_out, HELD_OUT_VERSIONS, 2, varied=False)
    output.mkdir(parents=True, exist_ok=True)
    if without is None:
        chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
        save_samples(output, "frames", train_x[chosen].astype(np.float16), test_x.astype(np.float16), test_y)
        for number, speaker in enumerate(sorted({recording.speaker for recording in held_out})):
            write_recording(output, speaker, [recording for recording in held_out if recording.speaker == speaker], number)
    if prepare_only:
        return
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for block in model.layers:
        kernel = block.layer.kernel
        kernel.forward = functools.partial(modal_kernel, kernel.modes)
    mean, deviation = (torch.from_numpy(value) for value in (train_x.mean((0, 1)), train_x.std((0, 1))))
    reached = train_classifier(
        model,
        ((torch.from_numpy(train_x) - mean) / deviation, torch.from_numpy(train_y)),
        ((torch.from_numpy(test_x) - mean) / deviation, torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        masked,
    )
    take_raw_frames(model.encoder, mean, deviation)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, output / "weights.safetensors")
    if without is not None:
        note_speaker(MODEL_DIRECTORY, without, {"accuracy": reached, "epochs": epochs, "seed": seed})


if __name__ == "__main__":
    main()
