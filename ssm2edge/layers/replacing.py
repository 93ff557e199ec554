"""Reduced blocks in the places of a model's layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import Block, LayerError, LayerLibrary, Origin, around
from ssm2edge.layers.finding import lengths_of, matches, name_of, read_systems
from ssm2edge.layers.realised import RealisedLayer
from ssm2edge.layers.refusals import REFUSALS
from ssm2edge.layers.registry import LIBRARIES, block_of
from ssm2edge.layers.replacement import Replacement, answer_of, input_like, keep_hooks
from ssm2edge.layers.shared import name_shared_once
from ssm2edge.systems.system import System

CHECKED_LENGTH = 64
"""Samples on which a layer and its replacement are compared, where the layer takes as many."""

REPLACEMENT_TOLERANCE = 1e-3
"""Largest relative difference, in float32, between a layer and its full-order replacement before the layer is refused."""


def replace_layers(model: nn.Module, systems: Mapping[str, System], libraries: tuple[LayerLibrary, ...] = LIBRARIES) -> nn.Module:
    """Return a copy of ``model`` in which each named layer holds a trainable block with the given system.

    Parameters
    ----------
    model
        Any module; it is left as it is.
    systems
        Reduced system by name, as :func:`find_layers` names it; unnamed parts of a named layer keep their own system.

    Raises
    ------
    LayerError
        If a layer, rebuilt with its own full-order system, does not compute what it did before.
    """
    replaced = copy.deepcopy(model)
    for path, module, library in list(matches(replaced, libraries, REFUSALS)):
        own = read_systems(path, module, library)
        names = {part: name_of(path, part, module) for part in own}
        if not any(name in systems for name in names.values()):
            continue
        try:
            _check_replacement(module, library, own)
            chosen = {part: systems.get(names[part], system) for part, system in own.items()}
            rebuilt = _rebuilt(module, library, chosen, own)
        except LayerError as error:
            raise LayerError(f"Layer {path or '(the model)'} ({library.name}) cannot be replaced: {error}") from error
        keep_hooks(module, rebuilt)
        if isinstance(rebuilt, Replacement):
            rebuilt.place = f"Layer {path or '(the model)'} ({library.name})"
        if path == "":
            return around(replaced, rebuilt)
        # A layer that several parts of the model share stays shared.
        for place in [place for place, other in replaced.named_modules(remove_duplicate=False) if other is module]:
            parent, _, attribute = place.rpartition(".")
            setattr(replaced.get_submodule(parent), attribute, rebuilt)
    return replaced


def exportable(model: nn.Module) -> nn.Module:
    """Return a copy of a replaced model, in eval mode, whose blocks are constants and operators, ready for ``torch.export``."""
    frozen = copy.deepcopy(model).eval()
    if isinstance(frozen, Block):
        return frozen.exported()
    name_shared_once(frozen, lambda module: any(isinstance(part, Block) for part in module.modules()))
    for name, module in list(frozen.named_modules()):
        if isinstance(module, Block):
            parent, _, attribute = name.rpartition(".")
            setattr(frozen.get_submodule(parent), attribute, module.exported())
    return frozen


def blocks(model: nn.Module) -> dict[str, Block]:
    """Return the reduced blocks of a replaced model, by the name of the layer each stands in."""
    suffix = ".block"
    return {
        name.removesuffix(suffix) if name != "block" else "": module
        for name, module in model.named_modules()
        if isinstance(module, Block)
    }


def describe_blocks(model: nn.Module, origins: Mapping[str, Origin]) -> None:
    """Let the blocks of a replaced model carry where they came from, in place.

    An origin is a plain attribute: it is copied and pickled with its block, printed by it, and no part of a state dict.

    Parameters
    ----------
    model
        As :func:`replace_layers` returns it.
    origins
        By the name of the layer, as in :func:`blocks`.

    Raises
    ------
    LayerError
        If the model holds no block of a name.
    """
    held = blocks(model)
    for name, origin in origins.items():
        if name not in held:
            raise LayerError(f"The model holds no reduced block for layer {name or '(the model)'}.")
        held[name].origin = origin


def exchange_block(replaced: nn.Module, name: str, block: nn.Module) -> None:
    """Put another block in a layer of a replaced model, in place; ``name`` as in :func:`blocks`."""
    layer = replaced.get_submodule(name)
    layer.register_module("block", block)


def _rebuilt(module: nn.Module, library: LayerLibrary, systems: Mapping[str, System], own: Mapping[str, System]) -> nn.Module:
    device = next((x.device for x in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    # A part of its own order stands for the original.
    made = {part: block_of(system, exact=system.order == own[part].order) for part, system in systems.items()}
    first, *others = made.values()
    for block in others:
        block.share(first)
    rebuilt = library.rebuild(module, {part: block.to(device).train(module.training) for part, block in made.items()})
    rebuilt.training = module.training
    return rebuilt


def _check_replacement(module: nn.Module, library: LayerLibrary, systems: Mapping[str, System]) -> None:
    """Compare a layer with its own full-order replacement: it may look like a library's and compute something else."""
    if isinstance(module, RealisedLayer):
        # It was measured, or compared with its reader's system, and the record of that is kept.
        return
    lengths = lengths_of(module, library)
    length = CHECKED_LENGTH if lengths is None else min(max(CHECKED_LENGTH, lengths[0]), lengths[-1])
    u = input_like(module, library.input_shape(module, 2, length), seed=0)
    answers = (answer_of(layer, u) for layer in (module, _rebuilt(module, library, systems, systems)))
    expected, actual = (x[0] if isinstance(x, tuple | list) else x for x in answers)
    assert isinstance(expected, Tensor)
    assert isinstance(actual, Tensor)
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise LayerError(
            f"it has the parameters of {library.name}, but answers with {tuple(expected.shape)} {expected.dtype} where its "
            f"replacement answers with {tuple(actual.shape)} {actual.dtype}; register a layer library that reads it."
        )
    difference = float((expected - actual).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not difference <= REPLACEMENT_TOLERANCE:
        raise LayerError(
            f"it has the parameters of {library.name}, but its forward computes something else (relative difference "
            f"{difference:.2g} on noise); register a layer library that reads it."
        )
