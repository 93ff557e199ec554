"""Machine and libraries of a measurement."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ssm2edge.verification.latency import processor_name

FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "neon", "asimd", "sve", "f16c")
"""Instruction sets that onnxruntime has kernels for."""


@dataclass(frozen=True)
class Environment:
    """Machine and libraries.

    Attributes
    ----------
    processor
        Its name.
    flags
        Its relevant instruction sets; empty if the system does not report them.
    cores
        Logical cores this process may use.
    threads
        Threads within an operator.
    system
        Operating system and architecture.
    onnxruntime, numpy, python
        Versions.
    """

    processor: str
    flags: tuple[str, ...]
    cores: int
    threads: int
    system: str
    onnxruntime: str
    numpy: str
    python: str


def environment(threads: int) -> Environment:
    """Describe this machine."""
    return Environment(
        processor=processor_name(),
        flags=_flags(),
        cores=available_cores(),
        threads=threads,
        system=f"{platform.system()} {platform.machine()}",
        onnxruntime=onnxruntime.__version__,
        numpy=np.__version__,
        python=platform.python_version(),
    )


def available_cores() -> int:
    """Return the number of logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _flags() -> tuple[str, ...]:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                present = set(line.partition(":")[2].split())
                return tuple(flag for flag in FLAGS if flag in present)
    except OSError:
        pass  # not Linux
    return ()
