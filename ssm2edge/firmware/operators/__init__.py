"""Operators that have a C form: one family a file, all in one table."""

from __future__ import annotations

from ssm2edge.firmware.operators.registry import EMITTERS

__all__ = ["EMITTERS"]
