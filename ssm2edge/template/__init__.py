"""A model directory to start from: real code that builds as it is, for the user's own to take its place file by file."""

from __future__ import annotations

from ssm2edge.template.writing import FILES, write_model_directory

__all__ = ["FILES", "write_model_directory"]
