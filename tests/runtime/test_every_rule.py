"""A model with every streaming rule, as files: pushed in any way, many streams at once, killed and restored."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from compare_streams import every_rule_signals
from every_rule import FRAME, every_rule, in_blocks, traced_every_rule
from float64_reference import Float64Reference
from stream_errors import STEPS, compare, compare_batch

from ssm2edge.export import export_offline, export_stream
from ssm2edge.runtime import Model, Stream
from tests.verification.test_verdicts import multiply_output

pytestmark = pytest.mark.slow

BLOCK = 2 * FRAME


@dataclass(frozen=True, eq=False)
class Files:
    offline: Path
    stream: Path


def test_sample_by_sample_gives_the_offline_graph(tmp_path: Path) -> None:
    model = in_blocks(every_rule(frames=False))
    traced, reference = traced_every_rule(model), Float64Reference(model)
    onnx.save(export_offline(traced), tmp_path / "offline.onnx")
    onnx.save(export_stream(traced, 1)[0], tmp_path / "stream.onnx")
    with Model(tmp_path / "offline.onnx") as offline:
        for step in (1, 16):
            rows = compare("one rate", offline, reference, tmp_path / "stream.onnx", every_rule_signals(2, 1500), step)
            assert {row.output for row in rows} == {f"output.{k}" for k in range(6)}
            for row in rows:
                assert row.largest <= 1e-4, row
                assert not row.drifts, row


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("every_rule")
    found = Files(folder / "offline.onnx", folder / "stream.onnx")
    traced = traced_every_rule(in_blocks(every_rule()))
    onnx.save(export_offline(traced), found.offline)
    onnx.save(export_stream(traced, BLOCK)[0], found.stream)
    return found


def test_pushes_of_any_size_give_the_offline_graph(files: Files) -> None:
    reference = Float64Reference(in_blocks(every_rule()))
    with Model(files.offline) as offline:
        for step in STEPS:
            rows = compare("every rule", offline, reference, files.stream, every_rule_signals(2, 2001 // FRAME * FRAME), step)
            assert {row.output for row in rows} == {f"output.{k}" for k in range(6)}
            for row in rows:
                assert row.largest <= 1e-4, row
                assert not row.drifts, row
        assert offline.multiple == FRAME


def test_a_state_that_leaks_drifts(files: Files, tmp_path: Path) -> None:
    graph = onnx.load(files.stream)
    multiply_output("next.sum", 1 - 1e-6)(graph)
    onnx.save(graph, tmp_path / "leaking.onnx")
    reference = Float64Reference(in_blocks(every_rule()))
    with Model(files.offline) as offline:
        rows = compare("leaking", offline, reference, tmp_path / "leaking.onnx", every_rule_signals(1, 20_000), 64)
    assert [row.output for row in rows if row.drifts] == ["output.5"]


def test_64_streams_in_a_batch_are_64_streams_alone(files: Files) -> None:
    assert compare_batch(files.stream, every_rule_signals(64, 20 * BLOCK)) <= 1e-5


CHILD = """
import sys
from pathlib import Path
import numpy as np
from ssm2edge.runtime import Stream

stream, signals, snapshot, result = map(Path, sys.argv[1:])
loaded = dict(np.load(signals))
with Stream(stream, 2) as pushed:
    def push(start, stop):
        return pushed.push({"tokens": loaded["tokens"][:, start:stop], "sound": loaded["sound"][:, :, start:stop]})
    if not snapshot.exists():
        push(0, 301)
        part = snapshot.with_suffix(".part")
        part.write_bytes(pushed.snapshot())
        part.rename(snapshot)
        push(301, 350)
        print("taken", flush=True)
        while True:
            push(350, 390)
    pushed.restore(snapshot.read_bytes())
    np.savez(result, **push(301, 500))
"""


def test_killed_stream_goes_on_from_its_snapshot_with_the_same_bits(files: Files, tmp_path: Path) -> None:
    signals = every_rule_signals(2, 500)
    np.savez(tmp_path / "signals.npz", **signals)
    command = [
        sys.executable,
        "-c",
        CHILD,
        *map(str, (files.stream, tmp_path / "signals.npz", tmp_path / "s", tmp_path / "r.npz")),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "taken\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    subprocess.run(command, check=True)
    with Stream(files.stream, 2) as stream:
        stream.push({"tokens": signals["tokens"][:, :301], "sound": signals["sound"][:, :, :301]})
        expected = stream.push({"tokens": signals["tokens"][:, 301:], "sound": signals["sound"][:, :, 301:]})
    restored = np.load(tmp_path / "r.npz")
    assert set(restored) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(restored[name], value)


def test_partial_frames_give_nothing_until_they_are_whole(files: Files) -> None:
    signals = every_rule_signals(1, 3 * FRAME)
    whole = Model(files.offline).run(signals)
    with Stream(files.stream) as stream:
        cut = {"tokens": signals["tokens"][:, :-1], "sound": signals["sound"][:, :, :-1]}
        parts = [stream.push(cut), stream.flush()]
    # Eleven samples are two frames and three samples.
    assert sum(part["output.0"].shape[1] for part in parts) == 2 * FRAME
    assert sum(part["output.1"].shape[2] for part in parts) == 2
    np.testing.assert_allclose(parts[1]["output.2"].shape[2] + parts[0]["output.2"].shape[2], 4 * FRAME)
    joined = np.concatenate([part["output.0"] for part in parts], 1)
    np.testing.assert_allclose(joined, whole["output.0"][:, : 2 * FRAME], rtol=1e-4, atol=1e-5)


def test_loading_prints_nothing(files: Files) -> None:
    code = "import sys, onnxruntime\nfor path in sys.argv[1:]: onnxruntime.InferenceSession(path)"
    done = subprocess.run([sys.executable, "-c", code, files.offline, files.stream], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
