"""Compress the linear time-invariant layers of trained deep state-space models and export them to ONNX.

``compress``, ``build``, ``sweep`` and ``inspect`` need the build extra; ``open`` needs numpy and onnxruntime.  On a device there
are ``ssm2edge.runtime`` (`Model`, `Stream`) and ``ssm2edge.audio`` (`Listener`, `LogMel`).
"""

from __future__ import annotations

from ssm2edge.api import Artifact, build, compress, inspect, open
from ssm2edge.errors import Error, UserError, VerificationError
from ssm2edge.sweeps import sweep

__version__ = "0.1.0"

__all__ = ["Artifact", "Error", "UserError", "VerificationError", "__version__", "build", "compress", "inspect", "open", "sweep"]
