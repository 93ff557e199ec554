"""The original runs where it is told to, and is timed as that device must be; without a GPU one sentence says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssm2edge.errors import UserError
from ssm2edge.original import devices
from ssm2edge.original.batches import BATCHES, batch_of, measure_original
from ssm2edge.original.devices import Cuda, Processor, open_device
from ssm2edge.original.recording import record_outputs
from tests.command_line import call


@dataclass
class Pretended:
    """A device whose calls take the time of their batch, in milliseconds, up to a largest batch."""

    largest: int = 1 << 30
    kind: str = "cuda"
    name: str = "pretended"
    threads: int | None = None
    torch_device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seen: list[int] = field(default_factory=list)
    exactly: int = 0

    def exact(self) -> AbstractContextManager[None]:
        self.exactly += 1
        return contextlib.nullcontext()

    def time(self, call: Callable[[], object]) -> float:
        answer: Any = call()
        self.seen.append(len(answer))
        if len(answer) > self.largest:
            raise torch.OutOfMemoryError("out of memory")
        return len(answer) * 1e-3


def test_every_batch_size_is_timed_warm() -> None:
    device = Pretended()
    record = measure_original(nn.Linear(3, 2), [np.zeros((4, 5, 3), np.float32)], device)
    assert [entry.batch for entry in record.latencies] == list(BATCHES)
    for entry in record.latencies:
        assert entry.median == pytest.approx(entry.batch * 1e-3)
        assert entry.low <= entry.median <= entry.high
        # More calls than count: the first ones only warm up.
        assert device.seen.count(entry.batch) > 50 or entry.median > 0.2
    assert (record.kind, record.device, record.threads, record.torch) == ("cuda", "pretended", None, torch.__version__)


def test_batches_that_do_not_fit_are_left_out() -> None:
    record = measure_original(nn.Linear(3, 2), [np.zeros((4, 5, 3), np.float32)], Pretended(largest=32))
    assert [entry.batch for entry in record.latencies] == [1, 8, 32]


def test_batches_repeat_the_samples() -> None:
    samples = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(batch_of(samples, 5).numpy(), samples[[0, 1, 2, 0, 1]])


def test_outputs_are_recorded_exactly_on_the_device_and_the_model_comes_back() -> None:
    device, model = Pretended(), nn.Linear(3, 2)
    inputs = {"u": np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)}
    (there,), (here,) = (record_outputs(model, inputs, 1, device=d).values() for d in (device, Processor()))
    np.testing.assert_array_equal(there, here)
    assert device.exactly == 1
    assert next(model.parameters()).device.type == "cpu"


def test_time_on_a_gpu_is_read_from_events_after_all_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.number = sum(entry.startswith("made") for entry in log)
            log.append(f"made {self.number}")

        def record(self) -> None:
            log.append(f"record {self.number}")

        def elapsed_time(self, other: Event) -> float:
            log.append(f"elapsed {self.number} to {other.number}")
            return 2.5

    monkeypatch.setattr(devices.torch.cuda, "Event", Event)
    monkeypatch.setattr(devices.torch.cuda, "synchronize", lambda index: log.append("synchronize"))
    assert Cuda().time(lambda: log.append("call")) == pytest.approx(2.5e-3)
    expected = ["made 0", "made 1", "synchronize", "record 0", "call", "record 1", "synchronize", "elapsed 0 to 1"]
    assert log == expected


def test_reference_on_a_gpu_is_recorded_without_tf32_and_settings_come_back() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with Cuda().exact():
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="no device 'tpu'"):
        open_device("tpu")


def test_asking_for_a_gpu_where_there_is_none_takes_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    out = tmp_path / "out"
    result = call("build", "models/digits", "--order", "2", "--device", "cuda", "--out", out)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "cannot run on cuda" in result.stderr
    assert not out.exists()
