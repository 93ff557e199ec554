"""Versions of the packages that take part in a build."""

from __future__ import annotations

import platform
from importlib import metadata

import numpy as np
import onnx
import onnxruntime
import scipy
import torch


def versions() -> dict[str, str]:
    """Return versions by package; builds with equal versions compute the same."""
    return {
        "ssm2edge": metadata.version("ssm2edge"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
