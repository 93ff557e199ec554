"""Whether an artifact computes what it should, how well and how fast."""

from __future__ import annotations

from .check import Check, Verdict
from .latency import Comparison, interleaved, processor_name
from .subject import Limits, Subject
from .timing import time_graphs
from .verify import examine, verify

__all__ = [
    "Check",
    "Comparison",
    "Limits",
    "Subject",
    "Verdict",
    "examine",
    "interleaved",
    "processor_name",
    "time_graphs",
    "verify",
]
