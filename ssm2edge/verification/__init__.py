"""Checks of an artifact: correctness, accuracy and speed."""

from __future__ import annotations

from ssm2edge.verification.check import Check, Verdict
from ssm2edge.verification.latency import Comparison, interleaved, processor_name
from ssm2edge.verification.subject import Limits, Subject
from ssm2edge.verification.timing import time_graphs
from ssm2edge.verification.verify import examine, verify
from ssm2edge.verification.workload import relative_latencies

__all__ = [
    "Check",
    "Comparison",
    "Limits",
    "Subject",
    "Verdict",
    "examine",
    "interleaved",
    "processor_name",
    "relative_latencies",
    "time_graphs",
    "verify",
]
