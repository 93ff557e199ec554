"""Constants that training computes anew at every call, computed once: parametrized weights, and tensors kept from a call."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ssm2edge.errors import UserError


def baked(model: nn.Module) -> nn.Module:
    """Replace parametrized tensors (weight and spectral norm, orthogonal weights, your own) by their values, in place.

    Requires
        The model is in eval mode, so that no power iteration moves.
    Ensures
        It computes what it did, with plain parameters.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            _unparametrize(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
    return model


def _unparametrize(module: nn.Module) -> None:
    """Give a module its class and its tensors back; torch's own removal would change copies of the module, too."""
    held = module.get_submodule("parametrizations")
    stored = {name: next(part.parameters(), None) for name, part in held.named_children()}
    values = {name: getattr(module, name).detach().clone() for name in stored}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        parameter = stored[name]
        if parameter is None:
            module.register_buffer(name, value)
        else:
            module.register_parameter(name, nn.Parameter(value, parameter.requires_grad))


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a module; tensors that it keeps from a call are detached in the copy.

    Raises
    ------
    UserError
        If it holds something else that cannot be copied.
    """
    computed = [value for module in model.modules() for value in vars(module).values() if _is_computed(value)]
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in computed}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # modules hold anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise UserError(
            f"The model cannot be copied ({first.rstrip('.')}); take what cannot be copied out of its attributes."
        ) from error


def detached(model: nn.Module) -> nn.Module:
    """Detach tensors that modules keep from a call, in place: a graph of gradients behind them cannot be copied."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if _is_computed(value):
                setattr(module, name, value.detach())
    return model


def check_readable(model: nn.Module, where: str) -> None:
    """Refuse TorchScript, which has no Python code to read.

    Raises
    ------
    UserError
        If the model, or a part of it, is TorchScript.
    """
    scripted = next((name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)), None)
    if scripted is not None:
        part = f"the module {scripted}" if scripted else "the model"
        raise UserError(
            f"{where}: {part} is TorchScript, whose code cannot be read; make the Python module, and give the file "
            "as its weights."
        )


def _is_computed(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_leaf
