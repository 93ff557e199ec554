"""Wrappers that training puts around a model and that do not change its outputs."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> nn.Module:
    """Remove ``torch.compile``, data parallelism and weight averaging, also inside the model, in place.

    Returns
    -------
    nn.Module
        The model itself, or the wrapped one.
    """
    while (inner := _wrapped(model)) is not None:
        model = inner
    for module in list(model.modules()):
        # module.compile() leaves this attribute.
        module._compiled_call_impl = None
        for name, child in list(module.named_children()):
            while (inner := _wrapped(child)) is not None:
                child = inner
                setattr(module, name, child)
    return model


def _wrapped(module: nn.Module) -> nn.Module | None:
    inner = getattr(module, "module", None) if isinstance(module, PARALLEL) else getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None
