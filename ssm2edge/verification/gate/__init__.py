"""The regression gate: compares an artifact with a baseline."""

from __future__ import annotations

from ssm2edge.verification.gate.baseline import Baseline, open_baseline
from ssm2edge.verification.gate.compare import compare
from ssm2edge.verification.gate.policy import Policy, read_policy
from ssm2edge.verification.gate.report import Gate, GateReport

__all__ = ["Baseline", "Gate", "GateReport", "Policy", "compare", "open_baseline", "read_policy"]
