"""The modal l1 regulariser of Forgione, Mejari and Piga (arXiv 2403.14833): modes that training needs little become fast.

What a fast mode does is over within a few samples, so that modal truncation and modal singular perturbation can leave it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssm2edge.layers import differentiable_systems


def modal_l1(model: nn.Module) -> Tensor:
    """Return the mean modulus of the poles of each layer, summed over the layers: a term of a training's loss.

    Parameters
    ----------
    model
        With layers of a known library, not reduced yet.

    Raises
    ------
    LayerError
        If there are none, or one is read without derivatives.

    Examples
    --------
    >>> loss = loss + 1e-2 * modal_l1(model)  # doctest: +SKIP
    """
    means = [system.poles.abs().mean() for system in differentiable_systems(model).values()]
    return torch.stack(means).sum().to(next(model.parameters()).device)
