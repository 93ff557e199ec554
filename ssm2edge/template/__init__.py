"""A model directory to start from: real code that builds as it is, and that users replace file by file."""

from __future__ import annotations

from ssm2edge.template.writing import FILES, write_model_directory

__all__ = ["FILES", "write_model_directory"]
