"""Finished stages of builds, kept beside the output, so that the next build continues where the last one ended."""

from __future__ import annotations

from ssm2edge.cache.keys import attributes, bytecode, key_of, source_code, tool
from ssm2edge.cache.results import Calibrations, Outputs, Reductions, Weights
from ssm2edge.cache.store import FOLDER, Store

__all__ = [
    "FOLDER", "Calibrations", "Outputs", "Reductions", "Store", "Weights",
    "attributes", "bytecode", "key_of", "source_code", "tool",
]  # fmt: skip
