"""Devices on which the original runs, and the timing of its calls there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from ssm2edge.errors import UserError
from ssm2edge.verification import processor_name

DEVICES = ("cpu", "cuda")


class Device(Protocol):
    """A device of torch."""

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""

    @property
    def name(self) -> str:
        """Name of the processor or GPU."""

    @property
    def threads(self) -> int | None:
        """Threads of torch; None on a GPU."""

    @property
    def torch_device(self) -> torch.device:
        """Device of the tensors."""

    def exact(self) -> AbstractContextManager[None]:
        """Inside, products are as precise as float32 allows: what is recorded there is the reference."""

    def time(self, call: Callable[[], object]) -> float:
        """Seconds that one call takes, until its results are there."""


@dataclass(frozen=True)
class Processor:
    """The CPU."""

    kind: str = "cpu"

    @property
    def name(self) -> str:
        """Name of the processor."""
        return processor_name()

    @property
    def threads(self) -> int | None:
        """Threads of torch now."""
        return torch.get_num_threads()

    @property
    def torch_device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def exact(self) -> AbstractContextManager[None]:
        """Nothing to do: a processor multiplies in float32."""
        return contextlib.nullcontext()

    def time(self, call: Callable[[], object]) -> float:
        """Wall time of a call."""
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) * 1e-9


@dataclass(frozen=True)
class Cuda:
    """A GPU.  Calls return before their work is done, so time is read from events in the GPU's own stream."""

    index: int = 0
    kind: str = "cuda"

    @property
    def name(self) -> str:
        """Name of the GPU."""
        return torch.cuda.get_device_name(self.index)

    @property
    def threads(self) -> int | None:
        """A GPU has no such number."""
        return None

    @property
    def torch_device(self) -> torch.device:
        """The GPU."""
        return torch.device("cuda", self.index)

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Without TF32, which keeps 10 bits of the 23 of float32 and is on for convolutions unless turned off."""
        products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions

    def time(self, call: Callable[[], object]) -> float:
        """Time between two events around a call, with nothing else waiting before it."""
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's stub
        torch.cuda.synchronize(self.index)
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize(self.index)
        return float(start.elapsed_time(stop)) * 1e-3


def open_device(kind: str) -> Device:
    """The device of a name.

    Raises
    ------
    UserError
        If it is unknown, or this machine or this torch has none.
    """
    if kind == "cpu":
        return Processor()
    if kind != "cuda":
        raise UserError(f"There is no device {kind!r}; choose one of {', '.join(DEVICES)}.")
    if not torch.cuda.is_available():
        why = "finds no GPU here" if torch.version.cuda else "was built without CUDA"
        raise UserError(f"The original cannot run on cuda: torch {torch.__version__} {why}; leave --device out, or say cpu.")
    return Cuda()
