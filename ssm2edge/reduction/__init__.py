"""Smaller systems from large ones: one method a file, one contract for all (``contract.py``)."""

from __future__ import annotations

from ssm2edge.reduction.contract import Method, Outcome, Reduction
from ssm2edge.reduction.methods import METHODS, reduce_system

__all__ = ["METHODS", "Method", "Outcome", "Reduction", "reduce_system"]
