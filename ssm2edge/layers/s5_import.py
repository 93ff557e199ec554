"""PyTorch modules from the parameter tree of a JAX S5 model; they compute the same.

The tree determines the number of layers, their sizes and directions, their kind of norm and most of their activation.  The caller
passes the rest; the defaults are those of the original's training script.  Trees are nested mappings of numpy arrays;
``ssm2edge.loading.read_flax_tree`` reads them from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.s5 import S5, VECTORS
from ssm2edge.layers.s5_model import S5Model, S5SequenceLayer

Tree = Mapping[str, Any]


def s5_from_flax(
    tree: Tree,
    path: str = "",
    *,
    conj_sym: bool = True,
    clip_eigs: bool = False,
    discretization: str = "zoh",
    step_rescale: float = 1.0,
) -> S5:
    """Make the S5 layer whose parameters a tree holds.

    Parameters
    ----------
    tree
        Nested mappings of arrays; float32 or float64, which the layer keeps.
    path
        Path of the layer's parameters in the tree, ``params/encoder/layers_0/seq``.
    conj_sym, clip_eigs, discretization, step_rescale
        As the model was trained; see :class:`~ssm2edge.layers.s5.S5`.

    Returns
    -------
    S5
        In eval mode; bidirectional if the tree has output matrices for both directions.

    Raises
    ------
    LayerError
        If parameters are missing or unknown, or their shapes contradict each other.
    """
    place = path or "the tree"
    values = {name: _tensor(value, f"{place}/{name}") for name, value in _subtree(tree, path).items()}
    missing = [name for name in (*VECTORS, "B") if name not in values]
    outputs = [name for name in ("C", "C1", "C2") if name in values]
    if outputs not in (["C"], ["C1", "C2"]):
        missing.append("C (or C1 and C2)")
    if missing:
        raise LayerError(f"{place} holds no S5 layer: it lacks {', '.join(missing)}; name the place of the layer's parameters.")
    states, features = values["Lambda_re"].numel(), values["D"].numel()
    if outputs == ["C"] and values["C"].ndim == 3 and values["C"].shape[1] == 2 * states:
        values["C1"], values["C2"] = torch.split(values.pop("C"), states, dim=1)
    bidirectional = "C1" in values
    layer = S5(features, states, conj_sym, clip_eigs, bidirectional, discretization, step_rescale)
    values["log_step"] = values["log_step"].reshape(-1, 1)
    _load(layer, values, place)
    return layer.eval()


def s5_model_from_flax(
    tree: Tree,
    *,
    activation: str | None = None,
    prenorm: bool = True,
    batchnorm: bool | None = None,
    mode: str = "pool",
    log_softmax: bool = True,
    conj_sym: bool = True,
    clip_eigs: bool = False,
    discretization: str = "zoh",
    step_rescale: float = 1.0,
) -> S5Model:
    """Make the whole model: encoder, residual S5 layers with their norms and gates, decoder.

    Parameters
    ----------
    tree
        The variables: ``params`` with ``encoder`` and ``decoder``, and ``batch_stats`` if the norms are batch norms.
    activation
        ``full_glu``, ``half_glu1``, ``half_glu2`` or ``gelu``; None follows the tree, and takes half_glu1 if the tree
        does not determine the half.
    batchnorm
        True for batch norms.  None takes batch norms if the tree has their statistics, and refuses a tree without any, since
        layer norms have the same parameters.
    prenorm, mode, log_softmax
        See :class:`~ssm2edge.layers.s5_model.S5SequenceLayer` and :class:`~ssm2edge.layers.s5_model.S5Model`.
    conj_sym, clip_eigs, discretization, step_rescale
        As in :func:`s5_from_flax`.

    Returns
    -------
    S5Model
        In eval mode.

    Raises
    ------
    LayerError
        If a part is missing or does not fit.
    """
    parameters = _subtree(tree, "params") if "params" in tree else tree
    statistics = _subtree(tree, "batch_stats") if "batch_stats" in tree else {}
    if not statistics and batchnorm is not False:
        raise LayerError(
            "The tree has no batch_stats, which batch norms need; save all variables, or say batchnorm=False if its norms are "
            "layer norms."
        )
    if statistics and batchnorm is False:
        raise LayerError("The tree has batch_stats, but its norms are said to be layer norms; leave batchnorm out.")
    stack = _subtree(parameters, "encoder")
    names = [f"layers_{i}" for i in range(len(stack) - 1)]
    unknown = sorted(set(stack) - {*names, "encoder"})
    if not names or unknown:
        what = f"it also holds {', '.join(unknown)}" if unknown else "it has no layers_0"
        raise LayerError(f"params/encoder is no stack of S5 layers ({what}); import its layers one by one.")
    layers = []
    for name in names:
        place = f"encoder/{name}"
        given = _subtree(parameters, place)
        seq = s5_from_flax(
            parameters, f"{place}/seq", conj_sym=conj_sym, clip_eigs=clip_eigs, discretization=discretization,
            step_rescale=step_rescale,
        )  # fmt: skip
        stored = {gate for gate in ("out1", "out2") if gate in given}
        kind = activation or ("full_glu" if "out1" in stored else "half_glu1" if stored else "gelu")
        running = _subtree(statistics, f"{place}/norm") if statistics else None
        layer = S5SequenceLayer(seq, kind, prenorm, running is not None)
        if stored != {gate for gate in ("out1", "out2") if getattr(layer, gate, None) is not None}:
            raise LayerError(f"{place} has the gates {sorted(stored)}, which the activation {kind} does not have; name another.")
        for gate in sorted(stored):
            _load(getattr(layer, gate), _dense(parameters, f"{place}/{gate}"), f"{place}/{gate}")
        _load(layer.norm, _norm(_subtree(given, "norm"), running, place), f"{place}/norm")
        layers.append(layer)
    model = S5Model(_linear(parameters, "encoder/encoder"), layers, _linear(parameters, "decoder"), mode, log_softmax)
    return model.eval()


def _subtree(tree: Tree, path: str) -> Tree:
    place: Any = tree
    for step in filter(None, path.split("/")):
        if not isinstance(place, Mapping) or step not in place:
            raise LayerError(
                f"The tree has no {path}; where {step} was looked for, it has {', '.join(sorted(map(str, place))[:8])}."
            )
        place = place[step]
    if not isinstance(place, Mapping):
        raise LayerError(f"The tree has an array at {path}, where a layer's parameters were looked for.")
    return place


def _tensor(value: Any, place: str) -> Tensor:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise LayerError(f"{place} is no array of real numbers; give the parameters as they were trained.")
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float64 if value.dtype == np.float64 else np.float32))


def _dense(tree: Tree, path: str) -> dict[str, Tensor]:
    values = {name: _tensor(value, f"{path}/{name}") for name, value in _subtree(tree, path).items()}
    kernel = values.pop("kernel", None)
    return values if kernel is None else {**values, "weight": kernel.mT}


def _linear(tree: Tree, path: str) -> nn.Module:
    given = _subtree(tree, path)
    if "embedding" in given:
        table = _tensor(given["embedding"], f"{path}/embedding")
        return nn.Embedding(table.shape[0], table.shape[1], _weight=table)
    values = _dense(tree, path)
    if "weight" not in values or values["weight"].ndim != 2:
        raise LayerError(f"{path} is no dense layer and no embedding (it has {', '.join(given)}); build the model around it.")
    outputs, inputs = values["weight"].shape
    linear = nn.Linear(inputs, outputs, bias="bias" in values)
    _load(linear, values, path)
    return linear


def _norm(given: Tree, running: Tree | None, place: str) -> dict[str, Tensor]:
    names = {"scale": "weight", "bias": "bias"}
    values = {names.get(name, name): _tensor(value, f"{place}/norm/{name}") for name, value in given.items()}
    if running is not None:
        moments = {"mean": "running_mean", "var": "running_var"}
        values |= {moments.get(name, name): _tensor(value, f"{place}/norm/{name}") for name, value in running.items()}
        values["num_batches_tracked"] = torch.tensor(0)
    return values


def _load(module: nn.Module, values: Mapping[str, Tensor], place: str) -> None:
    """Load all values of a module, in their own precision."""
    wanted = module.state_dict()
    for name in sorted(set(wanted) ^ set(values)):
        raise LayerError(f"{place} does not fit: {name} is {'missing' if name in wanted else 'unknown'}.")
    for name, value in values.items():
        if value.shape != wanted[name].shape:
            raise LayerError(f"{place}/{name} has shape {tuple(value.shape)} where {tuple(wanted[name].shape)} fits the others.")
    module.load_state_dict({name: value.clone() for name, value in values.items()}, assign=True)
