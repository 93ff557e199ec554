"""A fingerprint of trained weights, which differs for another training of the same model."""

from __future__ import annotations

import hashlib

import torch
from torch import nn
from torch.nn.parameter import is_lazy


def fingerprint_of(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters as they are stored, in float32, whatever their names.

    Requires
        Parametrized weights are not computed yet: values that are computed differ in their last bits between machines.
    Ensures
        Wrappers that rename parameters, and buffers, which a forward may fill, do not matter.
    """
    digests = [_digest(value) for value in model.parameters() if not is_lazy(value) and not value.is_meta]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _digest(value: torch.Tensor) -> str:
    held = value.detach().cpu().resolve_conj().resolve_neg()
    held = held.to(torch.complex64) if held.is_complex() else held.float()
    digest = hashlib.sha256(str(tuple(held.shape)).encode())
    digest.update(held.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
