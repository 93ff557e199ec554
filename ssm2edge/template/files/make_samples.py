"""Make samples.npz, and weights for as long as there are no trained ones: put your data in the place of `inputs`.

python make_samples.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from model import make
from numpy.typing import NDArray
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
CALIBRATION, HELD_OUT, LENGTH, FEATURES, CLASSES = 200, 300, 64, 4, 3


def inputs(count: int, generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signals ``(count, LENGTH, FEATURES)`` and their classes; here noise, smoothed more or less by class."""
    labels = generator.integers(0, CLASSES, count)
    noise = generator.standard_normal((count, LENGTH, FEATURES))
    smooth = np.cumsum(noise, axis=1) / np.sqrt(LENGTH)
    weight = labels[:, None, None] / (CLASSES - 1)
    return ((1 - weight) * noise + weight * smooth).astype(np.float32), labels


def main() -> None:
    """Write both files."""
    generator = np.random.default_rng(0)
    calibration, _ = inputs(CALIBRATION, generator)
    held_out, labels = inputs(HELD_OUT, generator)
    # One key per argument of the model's forward.
    parts: dict[str, Any] = {"calibration.signal": calibration, "held_out.signal": held_out, "labels": labels}
    np.savez_compressed(HERE / "samples.npz", **parts)
    if not (HERE / "weights.safetensors").exists():
        torch.manual_seed(0)
        save_file(make(FEATURES, classes=CLASSES).state_dict(), HERE / "weights.safetensors")


if __name__ == "__main__":
    main()
