"""The lines of docs/devices.md for onnxruntime's C API compile, run, and give the numbers of the stream."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.runtime import Stream
from tests.first_order import stream_graph

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "devices.md"
BLOCK, BLOCKS, OUTPUTS = 4, 50, 3
HEADER = "onnxruntime_c_api.h"
PLACES = (os.environ.get("ORT_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/local/include")

PROGRAM = """
#include <stdio.h>
@include
static OrtEnv *env;
static OrtSessionOptions *options;
static OrtSession *session;
static OrtMemoryInfo *memory;
static OrtValue *given[2];
static float block[@block], state[@state], *answer;
static const int64_t block_shape[] = {1, @block, 1}, state_shape[] = {1, @state};
static const char *const inputs[] = {@inputs}, *const outputs[] = {@outputs};
static int next_block(float *samples) { return fread(samples, sizeof *samples, @block, stdin) == @block; }
static void take(const float *found) { fwrite(found, sizeof *found, @answer, stdout); }
int main(void) {
@body
  return 0;
}
"""


def headers() -> Path | None:
    return next((Path(place) for place in PLACES if place and (Path(place) / HEADER).exists()), None)


@pytest.mark.skipif(headers() is None, reason=f"{HEADER} is not here (libonnxruntime-dev has it; ORT_INCLUDE is its folder)")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_c_of_the_page_runs(tmp_path: Path) -> None:
    (found_library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    library = tmp_path / "libonnxruntime.so.1"
    library.symlink_to(found_library)
    onnx.save(stream_graph(False, BLOCK), tmp_path / "stream.onnx")
    (tmp_path / "device").mkdir()
    model = device_graph(tmp_path / "stream.onnx", {})
    onnx.save(model, tmp_path / "device" / "stream.device.onnx")
    told = ports(model)
    (state,) = told["states"]
    names = {
        "inputs": [told["inputs"][0]["name"], state["input"]],
        "outputs": [told["outputs"][0]["name"], state["output"]],
    }
    lines = PAGE.read_text(encoding="utf-8").split(f"```c\n#include <{HEADER}>")[1].split("```")[0].splitlines()
    text = PROGRAM.replace("@include", f"#include <{HEADER}>" + lines[0]).replace("@body", "\n".join(lines[1:]))
    sizes = {"block": BLOCK, "state": state["shape"][1], "answer": BLOCK * OUTPUTS}
    for key, value in sizes.items():
        text = text.replace(f"@{key}", str(value))
    for key, found in names.items():
        text = text.replace(f"@{key}", ", ".join(f'"{name}"' for name in found))
    (tmp_path / "main.c").write_text(text)
    command = ["cc", "-std=c11", "-Wall", "-Wno-unused-result", "-Werror", "main.c", f"-I{headers()}", library.name, "-o", "main"]
    done = subprocess.run([*command, f"-Wl,-rpath,{tmp_path}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples = np.random.default_rng(0).standard_normal((1, BLOCK * BLOCKS, 1)).astype(np.float32)
    ran = subprocess.run(["./main"], cwd=tmp_path, input=samples.tobytes(), capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with Stream(tmp_path / "stream.onnx") as stream:
        expected = stream.push(samples)["output"]
    np.testing.assert_allclose(np.frombuffer(ran.stdout, np.float32).reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)
