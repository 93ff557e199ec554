"""The HTML page of an artifact: one file that needs nothing but itself."""

from __future__ import annotations

from ssm2edge.report.page import NAME, render

__all__ = ["NAME", "render"]
