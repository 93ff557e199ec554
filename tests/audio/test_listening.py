"""Words out of sound: a clip for every sound, the answers those of the frames alone, whatever the pieces it comes in."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ssm2edge.audio import Gate, Heard, Listener, LogMel
from ssm2edge.runtime import InputError
from tests.command_line import call
from tests.first_order import build, filtered

RATE, SPAN = 8000, 40
FRONT_END = LogMel(RATE, 200, 80, 1)
BURSTS = ((0.60, 0.15), (1.50, 0.25))
GATE = Gate()


def sound(bursts: tuple[tuple[float, float], ...] = BURSTS, seconds: float = 2.5) -> NDArray[np.float32]:
    """Tones in faint noise."""
    generator = np.random.default_rng(1)
    signal = 0.003 * generator.standard_normal(int(seconds * RATE))
    for start, length in bursts:
        time = np.arange(int(length * RATE))
        signal[int(start * RATE) : int(start * RATE) + len(time)] += 0.3 * np.sin(2 * np.pi * 700 * time / RATE)
    return signal.astype(np.float32)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task = {
        "classes": ["low", "middle", "high"],
        "front_end": {"kind": "log-mel", "sample_rate": RATE, "window": 200, "hop": 80, "mels": 1, "span": SPAN},
    }
    return build(tmp_path_factory.mktemp("listening") / "build", block=1, task=task)


def hear(artifact: Path, signal: NDArray[np.float32], cuts: list[int]) -> list[Heard]:
    with Listener(artifact, FRONT_END, SPAN) as listener:
        heard = [answer for piece in np.split(signal, cuts) for answer in listener.push(piece)]
        return heard + listener.flush()


def test_every_sound_is_heard_where_it_is(artifact: Path) -> None:
    heard = hear(artifact, sound(), [])
    assert len(heard) == len(BURSTS)
    for answer, (start, length) in zip(heard, BURSTS, strict=True):
        assert abs(answer.start - start) < 0.05
        assert abs(answer.end - (start + length)) < 0.05


def test_answer_is_that_of_the_clip_alone(artifact: Path) -> None:
    (answer,) = hear(artifact, sound(BURSTS[:1]), [])
    first = round(answer.start * RATE / FRONT_END.hop) - GATE.lead
    clip = FRONT_END.frames(sound(BURSTS[:1]))[first : first + SPAN]
    scores = filtered(clip[None], True)[0].astype(np.float64)
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    assert answer.index == expected.argmax()
    assert answer.probability == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.parametrize("cuts", [list(range(7, 20000, 160)), [1, 5000, 5001, 12345], [19999]])
def test_pieces_do_not_matter(artifact: Path, cuts: list[int]) -> None:
    for one, other in zip(hear(artifact, sound(), cuts), hear(artifact, sound(), []), strict=True):
        assert (one.index, one.start, one.end) == (other.index, other.start, other.end)
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_noise_alone_is_no_word_and_a_sound_cut_off_is_one(artifact: Path) -> None:
    assert hear(artifact, sound(()), []) == []
    (answer,) = hear(artifact, sound(((2.40, 0.1),)), [])
    assert abs(answer.start - 2.40) < 0.05


def test_flush_starts_afresh(artifact: Path) -> None:
    with Listener(artifact, FRONT_END, SPAN) as listener:
        twice = [[*listener.push(sound(BURSTS[:1])), *listener.flush()] for _ in range(2)]
    assert twice[0] == twice[1]


def test_a_sample_that_is_no_number_is_refused_and_not_taken(artifact: Path) -> None:
    with Listener(artifact, FRONT_END, SPAN) as listener:
        with pytest.raises(InputError, match=r"samples\[7\] is nan"):
            listener.push(np.where(np.arange(100) == 7, np.nan, sound()[:100]).astype(np.float32))
        assert listener.push(sound()) + listener.flush() == hear(artifact, sound(), [])


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.bool_, np.complex64])
def test_samples_that_are_no_floats_are_refused_and_not_taken(artifact: Path, kind: type[np.generic]) -> None:
    with Listener(artifact, FRONT_END, SPAN) as listener:
        with pytest.raises(InputError, match=f"samples is {np.dtype(kind)}, but sound is taken as floats from -1 to 1"):
            listener.push((sound() * 100).astype(kind))
        assert listener.push(sound()) + listener.flush() == hear(artifact, sound(), [])


def test_frames_that_do_not_fit_the_graph_are_refused(artifact: Path) -> None:
    with pytest.raises(InputError, match="frames of 5"):
        Listener(artifact, LogMel(RATE, 200, 80, 5), SPAN)


def save(path: Path, signal: NDArray[np.float32], rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((signal * 32767).astype("<i2").tobytes())
    return path


def test_run_tells_words_with_times_and_how_fast(artifact: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "sound.wav", sound())
    told = call("run", artifact, "--input", file, "--stream")
    assert told.exit_code == 0, told.stderr
    assert "2 words in 2.50 s" in told.stdout
    assert "faster than real time, 1 thread" in told.stdout
    value = json.loads(call("run", artifact, "--input", file, "--stream", "--json").stdout)
    names = ["low", "middle", "high"]
    expected = hear(artifact, sound(), [])
    assert [word["word"] for word in value["words"]] == [names[answer.index] for answer in expected]
    assert [word["start"] for word in value["words"]] == [answer.start for answer in expected]
    assert value["seconds"]["factor"] == pytest.approx(2.5 / value["seconds"]["spent"])


def test_run_answers_for_the_whole_recording(artifact: Path, tmp_path: Path) -> None:
    signal = sound()
    value = json.loads(call("run", artifact, "--input", save(tmp_path / "sound.wav", signal), "--json").stdout)
    frames = FRONT_END.frames((signal * 32767).astype("<i2") / np.float32(2**15))
    expected = filtered(frames[None], True)
    np.testing.assert_allclose(value["output"]["values"], expected, atol=1e-5)
    told = call("run", artifact, "--input", tmp_path / "sound.wav").stdout
    assert ["low", "middle", "high"][expected[0].argmax()] in told


@pytest.mark.parametrize(("rate", "samples", "said"), [(16000, 8000, "16000 samples a second"), (RATE, 100, "longer recording")])
def test_recordings_that_do_not_fit_are_told(artifact: Path, tmp_path: Path, rate: int, samples: int, said: str) -> None:
    refused = call("run", artifact, "--input", save(tmp_path / "sound.wav", sound()[:samples], rate), "--stream")
    assert refused.exit_code == 2
    assert said in refused.stderr
