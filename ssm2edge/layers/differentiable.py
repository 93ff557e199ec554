"""Systems of layers that are still trained, differentiable by the layers' own parameters."""

from __future__ import annotations

import torch
from torch import nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.finding import matches, name_of
from ssm2edge.layers.refusals import REFUSALS
from ssm2edge.layers.registry import LIBRARIES
from ssm2edge.systems.system import System


def differentiable_systems(model: nn.Module) -> dict[str, System]:
    """Return the systems of a model's layers by name, as functions of the parameters that are trained.

    Raises
    ------
    LayerError
        If there is no layer, one cannot be read, or its system does not follow from its parameters with derivatives.
    """
    if not isinstance(model, nn.Module):
        raise LayerError(f"The model is a {type(model).__name__}; give a torch.nn.Module.")
    found: dict[str, System] = {}
    for path, module, library in matches(model, LIBRARIES, REFUSALS):
        called = f"Layer {path or '(the model)'} ({library.name})"
        try:
            systems = library.read(module)
        except LayerError as error:
            raise LayerError(f"{called} cannot be read: {error}") from error
        except RuntimeError as error:
            # Eigenvectors come from LAPACK by way of numpy, which autograd refuses.
            raise LayerError(_underivable(called)) from error
        for part, system in systems.items():
            trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in library.parameters(module)[part])
            if trained and not any(array.requires_grad for array in system.arrays()):
                raise LayerError(_underivable(called))
            found[name_of(path, part, module)] = system
    if not found:
        raise LayerError("The model has no layer that ssm2edge knows.")
    return found


def _underivable(called: str) -> str:
    return f"{called} is read without derivatives, so that nothing can be asked of it in training; use a diagonal layer."
