"""The folder for the web in Node: the numbers of onnxruntime, words as in Python, snapshots, refusals, figures."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssm2edge.artifact import open_artifact
from ssm2edge.audio import Gate
from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.sources import Names
from ssm2edge.firmware.step import make_step
from ssm2edge.firmware.web_description import describe_stream
from ssm2edge.firmware.web_module import compiled
from ssm2edge.firmware.web_package import package_web
from ssm2edge.runtime import Stream
from tests import several_inputs
from tests.command_line import call
from tests.firmware.conftest import MODELS
from tests.first_order import build
from tests.model_directories import Built
from tests.node import ONNXRUNTIME_WEB, needs_onnxruntime_web, needs_web_tools, node, scripts

WORDS = MODELS / "keywords" / "words.wav"
pytestmark = [needs_web_tools, pytest.mark.slow]

ENGINE = """
const place = process.argv[3];
const options = place ? { onnxruntime: await import(`${place}/dist/ort.node.min.mjs`) } : {};
"""

STREAM = (
    """
import { readFileSync } from "node:fs";
import { Model, Stream, description } from "./index.js";
"""
    + ENGINE
    + """
const { whole, cuts } = JSON.parse(readFileSync(process.argv[2]));
const name = description.stream.outputs[0].name;
const numbers = (answers) => (answers[name] ? Array.from(answers[name]) : null);
const stream = await Stream.open(options);
const found = [];
let snapshot = null;
for (const [k, start] of [0, ...cuts].entries()) {
  if (k === 3) snapshot = stream.snapshot();
  found.push(numbers(await stream.push(whole.slice(start, cuts[k] ?? whole.length))));
}
const other = await Stream.open(options);
await other.push(whole.slice(0, 5).map((value) => -value));
other.restore(snapshot);
const third = await other.copy();
const rest = whole.slice(cuts[2]);
const again = [numbers(await other.push(rest)), numbers(await third.push(rest))];
const pending = stream.pending;
const refused = [];
const refuse = async (work) => {
  try {
    await work();
  } catch (fault) {
    refused.push(`${fault.name}: ${fault.message}`);
  }
};
const model = await Model.open(options);
const poison = [[1, NaN], [1, "2"], ["a"], [null], Float32Array.of(1, Infinity), Float64Array.of(-Infinity)];
for (const samples of poison) await refuse(() => stream.push(samples));
await refuse(() => model.run([...whole.slice(1), NaN]));
const poisoned = refused.splice(0);
const flushed = numbers(await stream.flush());
await refuse(() => stream.push({ wrong: [1] }));
await refuse(() => stream.push("one"));
await refuse(() => stream.restore(snapshot.slice(1)));
await refuse(() => stream.restore(snapshot.map((byte, k) => (k === 200 ? byte + 1 : byte))));
const run = numbers(await model.run(whole));
await refuse(() => model.run([]));
await stream.close();
await refuse(() => stream.push([1]));
const imports = WebAssembly.Module.imports(await WebAssembly.compile(readFileSync(new URL("./tiny.wasm", import.meta.url))));
console.log(JSON.stringify({ imports, found, again, pending, flushed, refused, poisoned, run, block: stream.block }));
process.exit(0);
"""
)

LISTEN = (
    """
import { readFileSync } from "node:fs";
import { Listener, gate, mixed, readWav } from "./index.js";
"""
    + ENGINE
    + """
const samples = mixed(readWav(readFileSync(process.argv[2])).channels);
const listener = await Listener.open(options);
const words = [];
for (let k = 0; k < samples.length; k += 777) words.push(...(await listener.push(samples.subarray(k, k + 777))));
words.push(...(await listener.flush()));
const refused = [];
const wrong = [Int16Array.of(1), Uint8Array.of(1), BigInt64Array.of(1n), [0.5, "1"], [NaN], null];
for (const each of wrong) {
  refused.push(await listener.push(each).then(() => "taken", (fault) => `${fault.name}: ${fault.message}`));
}
const again = await listener.push(samples);
const plain = await Listener.open(options);
const same = [];
for (const each of [Array.from(samples), Float64Array.from(samples)]) {
  same.push([...(await plain.push(each)), ...(await plain.flush())]);
}
console.log(JSON.stringify({ words, again, gate, refused, same }));
process.exit(0);
"""
)

engines = pytest.mark.parametrize("engine", ["", pytest.param(ONNXRUNTIME_WEB, marks=needs_onnxruntime_web)])


@pytest.fixture(scope="module")
def artifact(tiny_build: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("web") / "tiny"
    shutil.copytree(tiny_build.place / "deep" / "out", place)
    return place


@pytest.fixture(scope="module")
def web(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("web") / "folder"
    result = call("package", artifact, "--target", "web", "--out", place)
    assert result.exit_code == 0, result.output
    return place


@engines
def test_node_gives_the_numbers_of_onnxruntime(artifact: Path, web: Path, tmp_path: Path, engine: str) -> None:
    block = open_artifact(artifact).manifest.streaming.block or 1
    samples = np.random.default_rng(0).standard_normal(5 * block).astype(np.float32)
    cuts = [1, block + 1, block + 2, 3 * block + 1, 3 * block + 1]
    (tmp_path / "given.json").write_text(json.dumps({"whole": samples.tolist(), "cuts": cuts}))
    told: dict[str, Any] = node(web, STREAM, tmp_path / "given.json", engine)
    assert told["imports"] == []
    assert told["block"] == block == 4
    with Stream(artifact) as stream:
        pieces = [stream.push(part.reshape(1, -1, 1)) for part in np.split(samples, cuts)]
        name, pending = stream.outputs[0].name, stream.pending
        flushed = stream.flush()[name].ravel()
    expected = [piece[name].ravel() if name in piece else None for piece in pieces]
    scale = max(np.abs(value).max() for value in expected if value is not None)
    assert told["pending"] == pending
    for found, wanted in zip([*told["found"], told["flushed"]], [*expected, flushed], strict=True):
        assert (found is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, atol=1e-5 * scale)
    np.testing.assert_allclose(told["run"], told["flushed"], atol=1e-5 * scale)
    # A snapshot and a copy of it continue with the same bits.
    assert told["again"] == [told["flushed"]] * 2
    kinds = ["InputError", "InputError", "SnapshotError", "SnapshotError", "InputError", "EdgeError"]
    assert [text.split(":")[0] for text in told["refused"]] == kinds
    wrong = [
        "[1] is NaN",
        '[1] is the string "2"',
        '[0] is the string "a"',
        "[0] is null",
        "[1] is Infinity",
        "[0] is -Infinity",
        f"[{len(samples) - 1}] is NaN",
    ]
    assert [text.partition("[")[1] + text.partition("[")[2].partition(",")[0] for text in told["poisoned"]] == wrong
    assert all(text.startswith("InputError: ") for text in told["poisoned"])


OVERFLOW = (
    """
import { Model, Stream } from "./index.js";
"""
    + ENGINE
    + """
const [stream, other, model] = [await Stream.open(options), await Stream.open(options), await Model.open(options)];
const good = Float32Array.from({ length: 8 }, (_, k) => Math.sin(k));
const refused = [];
let changed = 0;
for (const count of [0, 3]) {
  for (const one of [stream, other]) await one.push(good.subarray(0, count));
  const before = String(stream.snapshot());
  for (const samples of [
    Float32Array.from({ length: 400 }, (_, k) => (k % 4 < 2 ? 3.4e38 : -3.4e38)),
    new Float64Array(16).fill(1e300),
    [...good, 1e39],
    ["0"],
    [[1, 2], [3, 4]],
    "hello",
    null,
    [true],
    [1n],
    BigInt64Array.of(1n),
    Int16Array.of(1),
  ]) {
    for (const door of [stream, model]) {
      try {
        await (door === stream ? stream.push(samples) : model.run(samples));
        refused.push("taken");
      } catch (fault) {
        refused.push(`${fault.name}: ${fault.message}`);
      }
    }
    changed += String(stream.snapshot()) !== before;
  }
}
const numbers = async (one) => Object.values(await one.push(good)).map((values) => Array.from(values));
console.log(JSON.stringify({ refused, changed, same: [await numbers(stream), await numbers(other)] }));
process.exit(0);
"""
)


@engines
def test_what_has_no_finite_answer_or_another_type_is_refused_and_changes_nothing(web: Path, engine: str) -> None:
    told = node(web, OVERFLOW, "", engine)
    wrong = [
        "no finite answer",
        "[0] is 1e+300, which float32 cannot hold",
        "[8] is 1e+39, which float32 cannot hold",
        '[0] is the string "0"',
        "[0] is an array: flatten it",
        'is the string "hello"',
        "is null",
        "[0] is true",
        "[0] is the BigInt 1",
        "is a BigInt64Array, but the model takes float32",
        "is an Int16Array, but the model takes float32",
    ]
    assert len(told["refused"]) == 4 * len(wrong)
    for text, said in zip(told["refused"], [each for each in wrong for _ in range(2)] * 2, strict=True):
        assert text.startswith("InputError: ")
        assert said in text
    assert told["changed"] == 0
    assert told["same"][0] == told["same"][1]


SEVERAL = """
import { readFileSync } from "node:fs";
import { Stream } from "./index.js";
const stream = await Stream.open();
const found = JSON.parse(readFileSync(process.argv[2])).map((part) => stream.push(part));
const pending = stream.pending;
found.push(stream.flush());
let refused = null;
try {
  stream.push({ u: [1, 2], tokens: [1, 2], gain: [1] });
} catch (fault) {
  refused = fault.message;
}
const plain = found.map((part) => Object.fromEntries(Object.entries(part).map(([name, values]) => [name, Array.from(values)])));
console.log(JSON.stringify({ pending, refused, found: plain }));
"""


def test_several_inputs_and_outputs_are_regrouped(tmp_path: Path) -> None:
    path = several_inputs.save(tmp_path / "stream.onnx")
    step, web = make_step(read_graph(path)), scripts(tmp_path / "web")
    (web / "several.wasm").write_bytes(compiled(step, Names.of(step, "several")))
    stream = describe_stream(step.signature, ports(device_graph(path, {})))
    described = {"name": "several", "sha256": "0", "classes": [], "files": {"wasm": "several.wasm"}, "stream": stream}
    (web / "description.js").write_text(f"export default {json.dumps(described)};")
    given = {name: value[:1] for name, value in several_inputs.inputs().items()}
    parts = [several_inputs.cut(given, start, stop) for start, stop in itertools.pairwise([0, 9, 9, 10, 14])]
    (tmp_path / "given.json").write_text(
        json.dumps([{name: value.ravel().tolist() for name, value in part.items()} for part in parts])
    )
    told = node(web, SEVERAL, tmp_path / "given.json")
    with Stream(path) as python:
        expected = [python.push(part) for part in parts]
        assert told["pending"] == python.pending
        expected.append(python.flush())
    for found, wanted in zip(told["found"], expected, strict=True):
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value.ravel(), rtol=1e-5, atol=1e-5)
    assert "different lengths" in told["refused"]


def test_a_folder_passes_its_own_test(web: Path) -> None:
    done = subprocess.run(["node", "check.js"], cwd=web, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: largest difference ")
    example = json.loads((web / "example.json").read_text())
    example["outputs"] = {name: [value + 1 for value in values] for name, values in example["outputs"].items()}
    wrong = web.parent / "wrong"
    shutil.copytree(web, wrong)
    (wrong / "example.json").write_text(json.dumps(example))
    assert subprocess.run(["node", "check.js"], cwd=wrong, capture_output=True, check=False).returncode == 1


def test_node_imports_the_folder_by_its_name(web: Path, tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "tiny").symlink_to(web)
    told = node(tmp_path, 'import { Stream } from "tiny"; console.log(JSON.stringify((await Stream.open()).block));')
    assert told == 4


def test_the_page_and_the_module_are_whole(web: Path) -> None:
    names = {path.name for path in web.iterdir()}
    assert {"tiny.wasm", "index.js", "index.d.ts", "index.html", "stream.device.onnx", "offline.onnx", "ports.json"} <= names
    text = "".join(path.read_text() for path in web.iterdir() if path.suffix in (".js", ".html", ".md"))
    assert "@name@" not in text
    # Nothing is fetched from elsewhere.
    assert "https://" not in "".join(path.read_text() for path in web.iterdir() if path.suffix in (".js", ".html", ".css"))


def test_a_model_that_does_not_stream_is_for_onnxruntime_alone(tmp_path: Path) -> None:
    build(tmp_path / "whole", mean=True, streams=False)
    result = call("package", tmp_path / "whole", "--target", "web", "--out", tmp_path / "web")
    assert result.exit_code == 0, result.output
    assert not list((tmp_path / "web").glob("*.wasm"))
    script = """
import { Stream } from "./index.js";
console.log(JSON.stringify(await Stream.open().catch((fault) => fault.message)));
"""
    assert "onnxruntime" in node(tmp_path / "web", script)


def test_the_web_is_a_target_of_verify(artifact: Path) -> None:
    result = call("verify", artifact, "--target", "web", "--json")
    assert result.exit_code == 0, result.output
    assert {check["name"] for check in json.loads(result.stdout)["checks"]} == {"web.references", "web.probes", "web.long"}
    assert "Node" in open_artifact(artifact).manifest.devices["web"].compiler


@engines
def test_node_hears_the_words_that_python_hears(keywords: Path, keywords_web: Path, engine: str) -> None:
    expected = json.loads(call("run", keywords, "--input", WORDS, "--stream", "--json").stdout)["words"]
    assert [word["word"] for word in expected] == ["yes", "left", "stop", "go"]
    told = node(keywords_web, LISTEN, WORDS, engine)
    for heard, wanted in zip(told["words"], expected, strict=True):
        assert heard["word"] == wanted["word"]
        assert [heard["start"], heard["end"]] == pytest.approx([wanted["start"], wanted["end"]], abs=1e-9)
        assert heard["probability"] == pytest.approx(wanted["probability"], abs=1e-4)
    assert [word["word"] for word in told["again"]] == ["yes", "left", "stop", "go"][: len(told["again"])]
    says = [
        "samples is an Int16Array, but the model takes float32",
        "samples is a Uint8Array, but",
        "samples is a BigInt64Array, but",
        'samples[1] is the string "1"',
        "samples[0] is NaN",
        "samples is null, no array of numbers",
    ]
    assert [text.split(": ")[0] for text in told["refused"]] == ["InputError"] * len(says)
    assert all(said in text for said, text in zip(says, told["refused"], strict=True))
    assert [[word["word"] for word in words] for words in told["same"]] == [[word["word"] for word in expected]] * 2
    assert told["gate"] == {key: getattr(Gate(), key) for key in ("rise", "frames", "lead", "memory")}


def test_the_lines_of_a_folders_page_run(keywords_web: Path) -> None:
    (lines,) = re.findall(r"```javascript\n(import \{ Listener.*?)```", (keywords_web / "README.md").read_text(), re.DOTALL)
    samples = "const samples = new Float32Array(20000).map((_, k) => Math.sin(k));\n"
    resampler = re.findall(r"`(new Resampler\(.*?\))`", lines)
    assert len(resampler) == 1
    assert node(keywords_web, f"{samples}{lines}\nconsole.log(JSON.stringify({resampler[0]}.push(samples).length));") > 6000


def test_the_page_of_a_model_without_sound_imports_only_what_it_uses(artifact: Path, tmp_path: Path) -> None:
    package_web(open_artifact(artifact), tmp_path / "web")
    page = (tmp_path / "web" / "README.md").read_text()
    assert "import { Model, Stream } from" in page
    assert "stream.push(samples)" in page


def test_the_word_recogniser_is_small(keywords_web: Path) -> None:
    assert (keywords_web / "keywords.wasm").stat().st_size <= 200_000


def test_the_word_recogniser_is_right_over_a_long_stream(keywords: Path, tmp_path: Path) -> None:
    shutil.copytree(keywords, tmp_path / "keywords")
    result = call("verify", tmp_path / "keywords", "--target", "web", "--json")
    assert result.exit_code == 0, result.output
    figures = {check["name"]: check["figure"] for check in json.loads(result.stdout)["checks"]}
    assert set(figures) == {"web.references", "web.probes", "web.long", "web.sound"}
    assert figures["web.long"] <= 1e-5
