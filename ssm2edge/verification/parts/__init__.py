"""Single layers, cut out of a graph and run by themselves."""

from __future__ import annotations

from ssm2edge.verification.parts.layer import Layer

__all__ = ["Layer"]
