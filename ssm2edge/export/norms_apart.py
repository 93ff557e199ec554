"""Keep batch norms out of the weights before them: the exporter's optimiser folds them into convolutions and products.

A folded weight is no product of integers and steps any more (onnxscript, ``rewriter/rules/common/_fuse_batchnorm.py``), so it
would be stored in float32.  As a factor and a sum of each channel, which no rule folds, a norm leaves integers as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def batch_norms_apart() -> dict[object, Callable[..., Any]]:
    """Return the decomposition of batch norms in eval mode, for `ExportedProgram.run_decompositions`."""

    def apart(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        factor = torch.rsqrt(variance + eps)
        factor = factor if weight is None else weight * factor
        added = -mean * factor if bias is None else bias - mean * factor
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        # In eval mode the operator has no statistics of its own to return.
        return x * factor.reshape(shape) + added.reshape(shape), x.new_empty(0), x.new_empty(0)

    return {torch.ops.aten._native_batch_norm_legit_no_training.default: apart}
