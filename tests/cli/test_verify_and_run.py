"""The commands `verify` and `run`: exit codes, one-sentence errors, and answers equal to the recursion's."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import warnings
import wave
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
import pytest
from click.testing import Result

from ssm2edge.audio.wav import read_wav
from ssm2edge.cli.resampling import Resampling
from ssm2edge.cli.samples import read_samples
from ssm2edge.errors import UserError
from ssm2edge.runtime import Stream
from ssm2edge.runtime.ports import Port
from tests.command_line import call
from tests.first_order import build, filtered

SAMPLES = np.random.default_rng(7).standard_normal((2, 18, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    build(folder / "mean", mean=True)
    build(folder / "sequence", mean=False)
    build(folder / "whole", mean=True, streams=False)
    build(folder / "leaking", mean=False, flush=False)
    np.save(folder / "batch.npy", SAMPLES)
    np.save(folder / "single.npy", SAMPLES[0, :, 0].astype(np.float64))
    return folder


def one_sentence(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("ssm2edge: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_verify_tells_everything_and_leaves_with_zero(artifacts: Path) -> None:
    result = call("verify", artifacts / "mean")
    assert result.exit_code == 0
    for word in ("original", "artifact", "0.7500", "h2 error", "Latency", "passed"):
        assert word in result.stdout
    assert "offline.parity" not in result.stdout
    for word in ("offline.parity", "streaming.carried", "passed"):
        assert word in call("verify", artifacts / "mean", "--verbose").stdout


def test_verify_in_json_is_the_verdict_alone(artifacts: Path) -> None:
    result = call("verify", artifacts / "mean", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    value = json.loads(result.stdout)
    assert value["passed"] is True
    assert value["accuracy"] == {"original": 0.75, "artifact": 0.75, "samples": 12}
    assert set(value["latency"]["medians"]) == {"offline", "stream"}


def test_failed_check_leaves_with_one_and_its_name(artifacts: Path) -> None:
    result = call("verify", artifacts / "leaking")
    assert result.exit_code == 1
    assert "stability.silence failed" in result.stdout
    value = json.loads(call("verify", artifacts / "leaking", "--json").stdout)
    assert [check["name"] for check in value["checks"] if not check["passed"]] == ["stability.silence"]


def test_damaged_artifact_leaves_with_two(artifacts: Path, tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    (directory / "offline.onnx").write_bytes(b"short")
    for command in (("verify", directory), ("run", directory, "--input", artifacts / "batch.npy")):
        assert "offline.onnx" in one_sentence(call(*command))
    assert "not a directory" in one_sentence(call("verify", tmp_path / "nothing"))
    told = json.loads(call("verify", tmp_path / "nothing", "--json").stdout)
    assert "not a directory" in told["error"]
    assert told["exit_code"] == 2


@pytest.mark.parametrize("streaming", [True, False])
def test_run_gives_the_recursions_answer(artifacts: Path, tmp_path: Path, streaming: bool) -> None:
    flags = ["--stream"] if streaming else []
    result = call("run", artifacts / "sequence", "--input", artifacts / "batch.npy", "--output", tmp_path / "y.npy", *flags)
    assert result.exit_code == 0, result.stderr
    assert "[2, 18, 3]" in result.stdout
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), filtered(SAMPLES, False), atol=2e-6)

    result = call("run", artifacts / "mean", "--input", artifacts / "single.npy", "--json", *flags)
    assert result.exit_code == 0, result.stderr
    # Blocks of 4: the last 2 of 18 samples do not enter a running answer.
    expected = filtered(SAMPLES[:1, :16] if streaming else SAMPLES[:1], True)
    value = json.loads(result.stdout)["output"]
    np.testing.assert_allclose(value["values"], expected, atol=2e-6)
    assert value["largest"] == expected.argmax(axis=1).tolist()
    assert ("last 2 samples" in result.stderr) == streaming
    assert str(expected.argmax(axis=1)[0]) in call("run", artifacts / "mean", "--input", artifacts / "single.npy", *flags).stdout


def test_several_outputs_go_to_an_archive(artifacts: Path, tmp_path: Path) -> None:
    assert call("run", artifacts / "mean", "--input", artifacts / "batch.npy", "--output", tmp_path / "y.npz").exit_code == 0
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_allclose(outputs["output"], filtered(SAMPLES, True), atol=2e-6)


def test_samples_that_do_not_fit_are_told(artifacts: Path, tmp_path: Path) -> None:
    model = artifacts / "mean"
    np.save(tmp_path / "integers.npy", np.zeros((1, 9, 1), np.int64))
    np.save(tmp_path / "wide.npy", np.zeros((1, 9, 2), np.float32))
    np.save(tmp_path / "deep.npy", np.zeros((1, 1, 9, 1), np.float32))
    np.save(tmp_path / "short.npy", np.zeros((1, 3, 1), np.float32))
    np.save(tmp_path / "empty.npy", np.zeros((1, 0, 1), np.float32))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object))
    np.savez(tmp_path / "names.npz", pixels=SAMPLES)
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "text.wav").write_text("text")
    for name, said in (
        ("integers.npy", "int64"),
        ("wide.npy", "(1, 9, 2)"),
        ("deep.npy", "[batch, time, 1]"),
        ("empty.npy", "at least one"),
        ("pickle.npy", "not a plain numpy file"),
        ("names.npz", "pixels"),
        ("text.npy", "not a plain numpy file"),
        ("text.wav", "not a wav file"),
        ("nothing.npy", "cannot be read"),
        ("nothing.wav", "cannot be read"),
        ("sound.mp3", "neither"),
    ):
        assert said in one_sentence(call("run", model, "--input", tmp_path / name)), name
    assert "fill no block" in one_sentence(call("run", model, "--input", tmp_path / "short.npy", "--stream"))
    assert "looks ahead" in one_sentence(call("run", artifacts / "whole", "--input", artifacts / "batch.npy", "--stream"))
    assert ".npz" in one_sentence(call("run", model, "--input", artifacts / "batch.npy", "--output", tmp_path / "y.txt"))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_samples_are_the_sine_that_was_written(tmp_path: Path, width: int, channels: int) -> None:
    sine = np.sin(np.arange(200).reshape(-1, channels) * 0.1) * 0.9
    integers = np.round(sine * (2 ** (8 * width - 1) - 1)).astype(np.int64) + (128 if width == 1 else 0)
    content = b"".join(int(value).to_bytes(width, "little", signed=width > 1) for value in integers.ravel())
    with wave.open(str(tmp_path / "sine.wav"), "wb") as recording:
        recording.setparams((channels, width, 8000, 0, "NONE", ""))
        recording.writeframes(content)
    samples = read_wav(tmp_path / "sine.wav")
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, sine, atol=2.0 ** (2 - 8 * width) + 1e-7)


def test_recordings_cut_short_are_refused_unless_their_header_leaves_the_length_open(tmp_path: Path) -> None:
    file = tmp_path / "whole.wav"
    with wave.open(str(file), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes(np.arange(100, dtype="<i2").tobytes())
    content = file.read_bytes()
    file.write_bytes(content[:-60])
    with pytest.raises(UserError, match="cut short: it says 100 samples and holds 70"):
        read_wav(file)
    # A pipe's header: all sizes the largest.
    open_ended = bytearray(content)
    open_ended[4:8] = open_ended[40:44] = b"\xff\xff\xff\xff"
    file.write_bytes(bytes(open_ended))
    assert read_wav(file).shape == (100, 1)
    file.write_bytes(content[:20])
    with pytest.raises(UserError, match="it ends in its header"):
        read_wav(file)


@pytest.mark.parametrize("more", [(), ("--stream",)])
def test_samples_that_are_no_numbers_are_refused(artifacts: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    samples = SAMPLES.copy()
    samples[1, 5] = np.nan
    np.save(tmp_path / "gap.npy", samples)
    result = call("run", artifacts / "sequence", "--input", tmp_path / "gap.npy", "--output", tmp_path / "out.npy", *more)
    assert "NaN or infinite values (first in sequence 1 at [5, 0])" in one_sentence(result)
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("name", ["mean", "sequence"])
def test_a_stream_prints_each_answer_as_soon_as_it_is_known(artifacts: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pushed: list[int] = []
    printed: list[int] = []
    push, echo = Stream.push, click.echo

    def pushing(self: Stream, samples: Any) -> Any:
        pushed.append(len(pushed))
        return push(self, samples)

    def echoing(message: Any = None, **more: Any) -> None:
        printed.append(len(pushed))
        echo(message, **more)

    monkeypatch.setattr(Stream, "push", pushing)
    monkeypatch.setattr(click, "echo", echoing)
    result = call("run", artifacts / name, "--stream", "--input", artifacts / "batch.npy")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if re.match(r" *\d+   sequence", line)]
    expected = filtered(SAMPLES, False)
    if name == "mean":
        # Four whole blocks of four, and two samples that fill none.
        assert [int(line[0]) for line in lines] == [4, 4, 8, 8, 12, 12, 16, 16]
        expected = np.stack([filtered(SAMPLES[:, :stop], True) for stop in (4, 8, 12, 16)], 1)
    else:
        assert [int(line[0]) for line in lines] == [1 + k // 2 for k in range(36)]
    values = np.array([[float(x) for x in line[4:7]] for line in lines]).reshape(-1, 2, 3).swapaxes(0, 1)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
    # Lines of a block come before the next block is pushed.
    assert len(pushed) == 5
    assert {1, 2, 3, 4} <= set(printed)
    quiet = call("run", artifacts / name, "--stream", "--input", artifacts / "batch.npy", "--json")
    assert "sequence 0" not in quiet.stdout


def test_wav_recording_runs(artifacts: Path, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "noise.wav"), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes((SAMPLES[0, :, 0] * 8000).astype("<i2").tobytes())
    result = call("run", artifacts / "sequence", "--input", tmp_path / "noise.wav", "--json")
    samples = (SAMPLES[:1] * 8000).astype("<i2").astype(np.float32) / 32768
    np.testing.assert_allclose(json.loads(result.stdout)["output"]["values"], filtered(samples, False), atol=2e-6)


def test_outputs_are_written_whole_or_not_at_all(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "y.npy"
    arguments = ("run", artifacts / "sequence", "--input", artifacts / "batch.npy", "--output", target)
    assert call(*arguments).exit_code == 0
    before = target.read_bytes()

    def full(stream: IO[bytes], value: object) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert "No space left on device" in one_sentence(call(*arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["y.npy"]
    assert target.read_bytes() == before


def test_interruption_leaves_with_130_and_a_sentence(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssm2edge.artifact.open_artifact", interrupted)
    result = call("verify", artifacts / "mean")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_unknown_faults_of_ours_keep_their_traceback(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ssm2edge.artifact.open_artifact", broken)
    assert isinstance(call("verify", artifacts / "mean").exception, ZeroDivisionError)


def test_base_install_verifies_and_runs(artifacts: Path) -> None:
    for command in (["verify"], ["run", "--input", str(artifacts / "batch.npy"), "--stream"]):
        code = (
            "import sys\n"
            "for name in ('torch', 'onnx', 'onnx_ir', 'onnxscript', 'scipy', 'safetensors'): sys.modules[name] = None\n"
            "from ssm2edge.cli import main\n"
            "main()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, command[0], str(artifacts / "mean"), *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


def test_numbers_that_the_models_type_cannot_hold_are_named_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "big.npy"
    np.save(path, np.full((8, 1), 1e300))
    port = Port("u", ("batch", "time", 1), np.dtype(np.float32), 1)
    with pytest.raises(UserError, match=r"1e\+300, which float32 cannot hold"), warnings.catch_warnings(action="error"):
        read_samples(path, [port], Resampling(False))
