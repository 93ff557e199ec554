"""The step as WebAssembly: no imports, the numbers of onnxruntime in Node, snapshots, the front end."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssm2edge.artifact import open_artifact
from ssm2edge.runtime import Stream
from tests.command_line import call
from tests.model_directories import Built

TOOLS = ("clang", "wasm-ld", "node")
pytestmark = [
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"this machine lacks one of {', '.join(TOOLS)}"),
    pytest.mark.slow,
]

SCRIPT = """
import { readFileSync } from "node:fs";
import { Stream, block, inputs, outputs } from "./tiny.mjs";
const imports = WebAssembly.Module.imports(await WebAssembly.compile(readFileSync(new URL("./tiny.wasm", import.meta.url))));
const samples = JSON.parse(readFileSync(process.argv[2]));
const [one, other] = [await Stream.open(), await Stream.open()];
const found = [], again = [];
let snapshot;
samples.forEach((values, k) => {
  if (k === 5) snapshot = one.snapshot();
  found.push(Array.from(one.push(Float32Array.from(values))[outputs[0].name]));
  other.push(Float32Array.from(values).map((value) => -value));
});
other.restore(snapshot);
for (const values of samples.slice(5)) again.push(Array.from(other.push(Float32Array.from(values))[outputs[0].name]));
let refused = "";
try { one.push(new Float32Array(1)); } catch (fault) { refused = fault.message; }
console.log(JSON.stringify({ imports, block, sizes: inputs.map((port) => port.size), found, again, refused }));
"""


@pytest.fixture(scope="module")
def artifact(tiny_build: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("web") / "tiny"
    shutil.copytree(tiny_build.place / "deep" / "out", place)
    return place


def test_node_gives_the_numbers_of_onnxruntime(artifact: Path, tmp_path: Path) -> None:
    result = call("package", artifact, "--target", "web", "--out", tmp_path / "web")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "web").iterdir()} == {"tiny.wasm", "tiny.mjs", "tiny.d.mts"}
    block = open_artifact(artifact).manifest.streaming.block
    samples = np.random.default_rng(0).standard_normal((12, block or 1)).astype(np.float32)
    (tmp_path / "samples.json").write_text(json.dumps(samples.tolist()))
    (tmp_path / "web" / "try.mjs").write_text(SCRIPT)
    command = ["node", tmp_path / "web" / "try.mjs", tmp_path / "samples.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["imports"] == []
    assert told["sizes"] == [block]
    assert "a block takes" in told["refused"]
    with Stream(artifact) as stream:
        expected = np.stack([next(iter(stream.push(row.reshape(1, -1, 1)).values())).ravel() for row in samples])
    np.testing.assert_allclose(told["found"], expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(told["again"], told["found"][5:])


def test_the_web_is_a_target_of_verify(artifact: Path) -> None:
    result = call("verify", artifact, "--target", "web", "--json")
    assert result.exit_code == 0, result.output
    assert {check["name"] for check in json.loads(result.stdout)["checks"]} == {"web.references", "web.probes", "web.long"}
    assert "Node" in open_artifact(artifact).manifest.devices["web"].compiler
