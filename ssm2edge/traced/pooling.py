"""Max pooling as the largest sample of each window: the exporter takes the length for a constant where it sees torch's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

POOLINGS = (functional.max_pool1d, torch.max_pool1d)

Size = int | Sequence[int]


class PoolingByWindows(TorchFunctionMode):
    """Lets ``max_pool1d`` cut windows while a model is traced, so that the trace holds for every length."""

    def __torch_function__(self, function: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch; see the class."""
        if function in POOLINGS:
            pooled = _by_windows(*args, **(kwargs or {}))
            if pooled is not None:
                return pooled
        return function(*args, **(kwargs or {}))


def _by_windows(
    input: Tensor,  # torch's name
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Return the values of ``max_pool1d``; None where windows have holes, are not whole, or places are asked for."""
    size, around, apart = (_one(x) for x in (kernel_size, padding, dilation))
    if apart != 1 or ceil_mode or return_indices:
        return None
    samples = functional.pad(input, (around, around), value=-torch.inf) if around else input
    return samples.unfold(-1, size, _one(stride) if stride else size).amax(-1)


def _one(size: Size) -> int:
    return size if isinstance(size, int) else size[0]
