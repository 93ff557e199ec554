"""Scripts of the web folder that need no model: front end, rates, recordings, arrays and tables, against numpy and scipy."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.audio.wav import read_recording
from tests.node import needs_node, node, scripts
from tests.slow_cases import slow

pytestmark = needs_node

FRAMES = """
import { LogMel } from "./log_mel.js";
import { readFileSync } from "node:fs";
const { frontEnd, samples, cuts } = JSON.parse(readFileSync(process.argv[2]));
const logMel = new LogMel(frontEnd);
const signal = Float32Array.from(samples);
const found = [0, ...cuts].flatMap((start, k) => logMel.push(signal.subarray(start, cuts[k] ?? signal.length)));
console.log(JSON.stringify(found.map((frame) => Array.from(frame))));
"""

RATES = """
import { Resampler } from "./recordings.js";
const signal = Float32Array.from({ length: 3001 }, (_, k) => Math.sin(k * k * 1e-4));
const found = {};
for (const [from, to] of JSON.parse(process.argv[2])) {
  const resampler = new Resampler(from, to);
  const parts = [];
  for (let k = 0; k < signal.length; k += 137) parts.push(...resampler.push(signal.subarray(k, k + 137)));
  found[`${from} ${to}`] = [...parts, ...resampler.flush()];
}
console.log(JSON.stringify(found));
"""

FILES = """
import { readFileSync } from "node:fs";
import { readNpy, readTable, readWav } from "./recordings.js";
const { kind, path } = JSON.parse(process.argv[2]);
const bytes = new Uint8Array(readFileSync(path));
try {
  if (kind === "wav") {
    const { channels, rate } = readWav(bytes);
    console.log(JSON.stringify({ rate, channels: channels.map((channel) => Array.from(channel)) }));
  } else {
    const { values, shape } = kind === "npy" ? readNpy(bytes) : readTable(new TextDecoder().decode(bytes));
    console.log(JSON.stringify({ values: Array.from(values, Number), shape }));
  }
} catch (fault) {
  console.log(JSON.stringify({ refused: `${fault.name}: ${fault.message}` }));
}
"""


@pytest.mark.parametrize(
    "front_end", [LogMel(16000, 400, 160, 40), slow(LogMel(8000, 200, 80, 32)), slow(LogMel(8000, 100, 130, 8))]
)
def test_frames_are_those_of_python_whatever_the_pieces(front_end: LogMel, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    time = np.arange(2500) / front_end.sample_rate
    signal = (0.3 * np.sin(2 * np.pi * 900 * time**2) + 0.01 * generator.standard_normal(len(time))).astype(np.float32)
    settings = {"sampleRate": front_end.sample_rate, "window": front_end.window, "hop": front_end.hop}
    settings |= {"mels": front_end.mels, "floor": front_end.floor}
    given = {"frontEnd": settings, "samples": signal.tolist(), "cuts": [1, 90, 91, 777, 1400]}
    (tmp_path / "given.json").write_text(json.dumps(given))
    found = np.array(node(scripts(tmp_path / "web"), FRAMES, tmp_path / "given.json"))
    np.testing.assert_allclose(found, front_end.frames(signal), atol=2e-4)


def test_rates_change_as_in_scipy_whatever_the_pieces(tmp_path: Path) -> None:
    rates = [(48000, 16000), (44100, 16000), (8000, 16000), (16000, 16000)]
    found = node(scripts(tmp_path / "web"), RATES, json.dumps(rates))
    signal = np.sin(np.arange(3001) ** 2 * 1e-4).astype(np.float32).astype(np.float64)
    for before, after in rates:
        common = np.gcd(before, after)
        expected = resample_poly(signal, after // common, before // common)
        np.testing.assert_allclose(found[f"{before} {after}"], expected, atol=1e-6)


@pytest.mark.parametrize(("width", "channels"), [slow(1, 1), (2, 2), slow(3, 1), slow(4, 2)])
def test_recordings_are_read_as_in_python(width: int, channels: int, tmp_path: Path) -> None:
    place = tmp_path / "sound.wav"
    with wave.open(str(place), "wb") as recording:
        recording.setsampwidth(width)
        recording.setnchannels(channels)
        recording.setframerate(22050)
        recording.writeframes(np.random.default_rng(0).bytes(width * channels * 100))
    told = node(scripts(tmp_path / "web"), FILES, json.dumps({"kind": "wav", "path": str(place)}))
    expected, rate = read_recording(place)
    assert told["rate"] == rate
    np.testing.assert_array_equal(np.array(told["channels"]).T.astype(np.float32), expected)


def test_arrays_and_tables_are_read(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2) / 8
    np.save(tmp_path / "samples.npy", values)
    (tmp_path / "samples.csv").write_text("first,second\n" + "".join(f"{a},{b}\n" for a, b in values))
    folder = scripts(tmp_path / "web")
    for kind in ("npy", "csv"):
        told = node(folder, FILES, json.dumps({"kind": kind, "path": str(tmp_path / f"samples.{kind}")}))
        assert told == {"values": values.ravel().tolist(), "shape": [3, 2]}


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("wav", b"RIFF....AVI LIST", "no wav file"),
        slow("wav", b"RIFF....WAVEfmt ", "ends in its header"),
        slow("npy", b"PK..........", "no .npy file"),
        slow("csv", b"1,2\n3\n", "Row 2"),
        slow("csv", b"\n", "empty"),
    ],
)
def test_other_files_are_refused_in_one_sentence(kind: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    told = node(scripts(tmp_path / "web"), FILES, json.dumps({"kind": kind, "path": str(tmp_path / "file")}))
    assert told["refused"].startswith("InputError: ")
    assert says in told["refused"]


def test_every_export_has_a_type(tmp_path: Path) -> None:
    folder = scripts(tmp_path / "web")
    (folder / "description.js").write_text('export default { classes: ["a"] };')
    names = node(folder, 'import * as all from "./index.js"; console.log(JSON.stringify(Object.keys(all)));')
    types = (folder / "index.d.ts").read_text()
    assert set(names) == set(re.findall(r"^export (?:const|class|function) (\w+)", types, re.MULTILINE))
