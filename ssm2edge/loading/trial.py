"""A trial run of a model on zeros: the vocabularies of its embeddings, and the statistics that its normalisations store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssm2edge.loading.arguments import Arguments
from ssm2edge.signals.shape import Scale

Array = NDArray[Any]


def trial(model: nn.Module, arguments: Arguments, zeros: Mapping[str, Tensor]) -> tuple[dict[str, int], dict[str, Scale]]:
    """Run a model on zeros, as far as it goes, and watch the modules that read its inputs as they are.

    Parameters
    ----------
    model
        The user's model, in eval mode.
    arguments
        Entry of the inputs.
    zeros
        One sequence of every input.

    Returns
    -------
    dict
        Vocabulary of the embedding that reads an input, by input.
    dict
        Mean and deviation that a batch normalisation stores of an input, by input; one number for each feature behind its
        time axis.
    """
    places = {value.untyped_storage().data_ptr(): name for name, value in zeros.items()}
    vocabularies: dict[str, int] = {}
    scales: dict[str, Scale] = {}

    def read(module: nn.Module, args: tuple[Any, ...]) -> None:
        name = places.get(args[0].untyped_storage().data_ptr()) if args and isinstance(args[0], Tensor) else None
        if name is None:
            return
        if isinstance(module, nn.Embedding):
            vocabularies[name] = min(module.num_embeddings, vocabularies.get(name, module.num_embeddings))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            deviation = (module.running_var.double() + module.eps).sqrt()
            scales.setdefault(name, Scale(_array(module.running_mean), _array(deviation)))

    watched = [module for module in model.modules() if isinstance(module, nn.Embedding | _BatchNorm)]
    handles = [module.register_forward_pre_hook(read) for module in watched]
    args, kwargs = arguments.filled([zeros[name] for name in arguments.names])
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except Exception:  # zeros may be no input for the user's own code; real ones are judged later
        pass
    finally:
        for handle in handles:
            handle.remove()
    return vocabularies, scales


def _array(value: Tensor) -> Array:
    return np.asarray(value.detach().double().cpu().numpy())
