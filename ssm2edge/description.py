"""What the manifest says of the layers and of the tools that built them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import onnx
import onnxruntime
import torch

import ssm2edge
from ssm2edge.artifact import LayerRecord
from ssm2edge.calibration import Calibrated
from ssm2edge.layers import FoundLayer
from ssm2edge.reduction import Reduction
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.stability import spectral_radius
from ssm2edge.systems.system import System


def layer_records(
    layers: Mapping[str, FoundLayer], deployed: Mapping[str, System], reductions: Mapping[str, Reduction]
) -> tuple[LayerRecord, ...]:
    """Describe every layer; errors are those of the float32 blocks that run, not of the float64 reductions they came from."""
    records = []
    for name, layer in layers.items():
        reduction = reductions[name]
        system = deployed[name]
        error = float(h2_error(layer.system, system, reduction.horizon).norm())
        norm = float(h2_norm(layer.system, reduction.horizon).norm())
        records.append(
            LayerRecord(
                name=name,
                library=layer.library,
                kind=layer.kind,
                channels=layer.system.batch_shape.numel(),
                order_before=layer.system.order,
                order_after=reduction.order,
                horizon=reduction.horizon,
                h2_error=error,
                h2_error_relative=error / norm if norm > 0 else 0.0,
                spectral_radius=float(spectral_radius(system).max()),
                outcomes=reduction.outcome_counts,
            )
        )
    return tuple(records)


def calibration_record(calibrated: Calibrated) -> dict[str, float] | None:
    """What output matching did to the error of the outputs; None without it."""
    return None if calibrated.matched is None else {name: float(value) for name, value in asdict(calibrated.matched).items()}


def versions() -> dict[str, str]:
    """Versions of what takes part in a build."""
    return {
        "ssm2edge": ssm2edge.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
