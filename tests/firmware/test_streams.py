"""The C form of whole streams: the layer's own forward, onnxruntime, instances, snapshots, no heap, nothing undefined."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from every_rule import FRAME, every_rule, in_blocks, traced_every_rule

from ssm2edge.audio import LogMel
from ssm2edge.export import export_stream
from ssm2edge.firmware import FirmwareError
from ssm2edge.firmware.driver import sound_program, step_program
from ssm2edge.firmware.host import FAST, SANE, run_on_host
from ssm2edge.firmware.sources import Names, struct_bytes, write_header, write_source
from ssm2edge.firmware.tools import STRICT
from tests.small_models import CHANNELS, tail, traced
from tests.streaming_graphs import both, needs_compiler, step_of

pytestmark = needs_compiler
HEAP = ("malloc", "calloc", "realloc", "free", "fopen", "printf")


@pytest.fixture(scope="module")
def layer_stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One S4D layer, a linear map, GELU and a running mean, sample by sample."""
    model = tail(lambda self, y: torch.nn.functional.gelu(self.linear(y.mT)).mT.mean(2))
    path = tmp_path_factory.mktemp("layer") / "stream.onnx"
    onnx.save(export_stream(traced(model), 1)[0], path)
    return path


def test_c_is_onnxruntime_is_the_layers_own_forward(layer_stream: Path, tmp_path: Path) -> None:
    model = tail(lambda self, y: torch.nn.functional.gelu(self.linear(y.mT)).mT.mean(2))
    samples = np.random.default_rng(1).standard_normal((60, CHANNELS)).astype(np.float32)
    (found,), (expected,) = both(layer_stream, [{"u": samples}], tmp_path)
    with torch.no_grad():
        own = np.stack([model(torch.from_numpy(samples[: k + 1].T[None]))[0].numpy() for k in range(len(samples))])
    np.testing.assert_allclose(found["output"], expected["output"], atol=1e-6)
    np.testing.assert_allclose(found["output"], own, atol=3e-5)


def test_states_are_updated_in_place(layer_stream: Path) -> None:
    step = step_of(layer_stream)
    states = sum(buffer.size for buffer in step.states)
    # The mean keeps three numbers for each channel and is copied; the layer's states are not.
    assert {state.name for state, _ in step.copied} == {"state.mean"}
    assert struct_bytes(step) < 4 * 2 * states


def test_streams_share_nothing_and_a_copy_of_the_struct_is_a_snapshot(layer_stream: Path, tmp_path: Path) -> None:
    step = step_of(layer_stream)
    names = Names.of(step, "model")
    (tmp_path / "model.h").write_text(write_header(step, names))
    (tmp_path / "model.c").write_text(write_source(step, names))
    command = ["cc", *STRICT, "-O0", "-shared", "-fPIC", "model.c", "-lm", "-o", "model.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "model.so"))
    answer = np.zeros(CHANNELS, np.float32)

    def step_of_stream(stream: ctypes.Array[ctypes.c_char], sample: np.ndarray) -> np.ndarray:
        library.model_step(stream, ctypes.c_void_p(sample.ctypes.data), ctypes.c_void_p(answer.ctypes.data))
        return answer.copy()

    one, other = (ctypes.create_string_buffer(struct_bytes(step)) for _ in range(2))
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((2, 20, CHANNELS)).astype(np.float32)
    library.model_init(one)
    alone = [step_of_stream(one, sample) for sample in first]
    library.model_init(one)
    library.model_init(other)
    for k in range(20):
        if k == 10:
            snapshot = bytes(one)
        np.testing.assert_array_equal(step_of_stream(one, first[k]), alone[k])
        step_of_stream(other, second[k])
    ctypes.memmove(other, snapshot, len(snapshot))
    np.testing.assert_array_equal([step_of_stream(other, sample) for sample in first[10:]], alone[10:])


@pytest.mark.skipif(shutil.which("nm") is None, reason="there is no nm on this machine")
def test_the_object_asks_for_no_heap_and_no_files(layer_stream: Path, tmp_path: Path) -> None:
    step = step_of(layer_stream)
    program = step_program(step, Names.of(step, "model"))
    program.write(tmp_path)
    subprocess.run(["cc", *STRICT, "-O2", "-c", "model.c", "-o", "model.o"], cwd=tmp_path, check=True)
    told = subprocess.run(["nm", "--undefined-only", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    undefined = {line.split()[-1].lstrip("_") for line in told.stdout.splitlines()}
    assert undefined <= {"memcpy", "memset", "memmove", "sqrtf", "GLOBAL_OFFSET_TABLE_", "stack_chk_fail"}
    assert not undefined & set(HEAP)


@pytest.mark.parametrize(("rate", "flags"), [(1, FAST), (2 * FRAME, SANE)], ids=["one rate, fast", "several rates, sanitised"])
@pytest.mark.slow
def test_every_streaming_rule_has_a_c_form(rate: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    model = in_blocks(every_rule(frames=rate > 1))
    path = tmp_path / "stream.onnx"
    onnx.save(export_stream(traced_every_rule(model), rate)[0], path)
    step = step_of(path)
    generator = np.random.default_rng(3)
    sequence = {
        buffer.name: generator.integers(0, 7, (50, buffer.size))
        if buffer.dtype.kind == "i"
        else generator.standard_normal((50, buffer.size)).astype(np.float32)
        for buffer in step.inputs
    }
    (found,), (expected,) = both(path, [sequence], tmp_path, flags)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=3e-6 * np.abs(value).max())


@pytest.mark.slow
def test_samples_of_a_microphone_give_the_frames_of_the_front_end(tmp_path: Path) -> None:
    front_end = LogMel(sample_rate=8000, window=100, hop=40, mels=CHANNELS)
    model = tail(lambda self, y: self.linear(y.mT).mT)
    onnx.save(export_stream(traced(model), 1)[0], tmp_path / "stream.onnx")
    step = step_of(tmp_path / "stream.onnx")
    program = sound_program(step, Names.of(step, "model"), front_end)
    samples = (np.random.default_rng(4).standard_normal((30, 40)) * 3000).astype(np.int16)
    (found,) = run_on_host(program, [{"samples": samples}], tmp_path, ("-O0",)).outputs
    frames = front_end.frames(samples.ravel().astype(np.float32) / 32768)
    with torch.no_grad():
        expected = model(torch.from_numpy(frames.T[None]))[0].numpy().T
    # The first window is full after two hops and a half.
    np.testing.assert_allclose(found["output"][2 : 2 + len(frames)], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_a_refusal_names_the_line_of_the_model(tmp_path: Path) -> None:
    model = tail(lambda self, y: torch.sort(y, 1).values)
    onnx.save(export_stream(traced(model), 1)[0], tmp_path / "stream.onnx")
    with pytest.raises(FirmwareError, match=r"operator TopK \(made from small_models\.py:\d+\) cannot be written as C"):
        step_of(tmp_path / "stream.onnx")
