"""The door: compress, build, inspect and open, in the user's own process.

Torch, onnx and onnxruntime are imported when a function needs them; a base install opens, runs, streams and verifies artifacts.
"""

from __future__ import annotations

from ssm2edge.api.arguments import naming_arguments
from ssm2edge.api.building import build, compress
from ssm2edge.api.inspecting import inspect
from ssm2edge.api.opened import Artifact, open

__all__ = ["Artifact", "build", "compress", "inspect", "naming_arguments", "open"]
