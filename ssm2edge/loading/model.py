"""The user's model: its factory imported and called, its weights loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.loading.baking import baked, check_readable, detached
from ssm2edge.loading.fingerprint import fingerprint_of
from ssm2edge.loading.functions import function_of, import_code
from ssm2edge.loading.source import Source
from ssm2edge.loading.weights import first_line, load_weights
from ssm2edge.loading.wrappers import unwrapped

READERS = "LTI_LAYERS"
"""Name of the mapping in the factory's file that reads its own layers."""


@dataclass(frozen=True, eq=False)
class UserModel:
    """The user's model and readers.

    Attributes
    ----------
    model
        With its weights, on the CPU, in eval mode; wrappers of training are removed.
    readers
        Functions that return the system of a layer, by the layer's class: ``LTI_LAYERS`` of the factory's file, if it has one.
    fingerprint
        Of its parameters.
    """

    model: nn.Module
    readers: Mapping[type[nn.Module], Callable[[nn.Module], Any]]
    fingerprint: str


def load_model(source: Source) -> nn.Module:
    """Return the model of :func:`load_user_model` alone."""
    return load_user_model(source).model


def load_user_model(source: Source) -> UserModel:
    """Make the model and load its weights, on the CPU, in eval mode.

    Parameters
    ----------
    source
        The user's description.

    Raises
    ------
    UserError
        If the factory cannot be imported or fails, the weights cannot be read, do not fit, or are not finite.
    """
    with warnings.catch_warnings():
        # What a later torch has in place of weight_norm is for whoever trains; a build has nothing to mend.
        warnings.simplefilter("ignore", FutureWarning)
        module, function = import_code(source.factory, source.directory, "factory")
        model = _made(source, module, function)
    if not isinstance(model, nn.Module):
        raise UserError(f"{source.factory} returned a {type(model).__name__}; it must return a torch.nn.Module.")
    if source.weights is not None:
        load_weights(model, source.weights, source.trust_pickle)
    fingerprint = fingerprint_of(model)
    return UserModel(ready(model, str(source.weights or source.factory)), _readers(source, module), fingerprint)


def _made(source: Source, module: ModuleType, function: str) -> object:
    factory = function_of(module, function, source.factory, "name the function that makes the model")
    try:
        return factory(**source.arguments)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything, and leave
        raise UserError(f"{source.factory} failed to make the model ({type(error).__name__}: {first_line(error)}).") from error


def ready(model: nn.Module, where: str) -> nn.Module:
    """Remove wrappers of training from a model and put it in eval mode.

    Parameters
    ----------
    model
        With its weights.
    where
        Their place, for the sentence.

    Raises
    ------
    UserError
        If a weight is not finite.
    """
    model = detached(unwrapped(model))
    check_readable(model, where)
    trained = dict(model.named_parameters(remove_duplicate=False))
    for name, value in model.state_dict().items():
        # Masks of attention are infinite.
        if isinstance(value, Tensor) and not bool((torch.isfinite(value) if name in trained else ~torch.isnan(value)).all()):
            raise UserError(f"{where}: the weight {name} holds NaN or infinite values; give weights of a finished training.")
    return baked(model.eval())


def _readers(source: Source, module: ModuleType) -> Mapping[type[nn.Module], Callable[[nn.Module], Any]]:
    readers = getattr(module, READERS, {})
    right = isinstance(readers, Mapping) and all(
        isinstance(kind, type) and issubclass(kind, nn.Module) and callable(reader) for kind, reader in readers.items()
    )
    if not right:
        raise UserError(f"{source.factory}: {READERS} must map classes of layers to functions that return their systems.")
    return readers
