"""Which layer of which library holds a System, and the block that replaces it.

A new library is one file with a :class:`~ssm2edge.layers.contract.LayerLibrary` and one line in ``LIBRARIES``; a new shape of
system is one file with a :class:`~ssm2edge.layers.contract.Block` and one line in ``BLOCKS``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.contract import Block, FoundLayer, LayerError, LayerLibrary, answer_of
from ssm2edge.layers.lru import LRULibrary
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.layers.s4d import S4DLibrary
from ssm2edge.systems.system import System

LIBRARIES: tuple[LayerLibrary, ...] = (S4DLibrary(), LRULibrary())

BLOCKS: tuple[type[Block], ...] = (ReducedBank, ReducedMimo)

REPLACEMENT_TOLERANCE = 1e-3
"""Largest relative difference, in float32, between a layer and its full-order replacement before the layer is refused."""


def find_layers(model: nn.Module, libraries: tuple[LayerLibrary, ...] = LIBRARIES) -> list[FoundLayer]:
    """Find the LTI layers of a model, in the order of its modules.

    Raises
    ------
    LayerError
        If there is none, or one cannot be read; the sentence names it.
    """
    found: list[FoundLayer] = []
    for name, module, library in _matches(model, libraries):
        try:
            system = library.read(module)
        except LayerError as error:
            raise LayerError(f"Layer {name or '(the model)'} ({library.name}) cannot be read: {error}") from error
        radius = float(system.poles.abs().max())
        if not radius < 1:
            where = f"channel {int(system.poles.abs().amax(-1).argmax())}" if system.batch_shape else "it"
            raise LayerError(
                f"Layer {name or '(the model)'} ({library.name}) is not stable: {where} has a pole of modulus "
                f"{radius:.6g}; train it so that every pole lies inside the unit circle."
            )
        found.append(FoundLayer(name, library.name, library.kind(module), system, library.parameters(module)))
    if not found:
        known = ", ".join(library.name for library in libraries)
        raise LayerError(f"The model has no layer that ssm2edge knows (it knows: {known}); register its library.")
    return found


def replace_layers(model: nn.Module, systems: Mapping[str, System], libraries: tuple[LayerLibrary, ...] = LIBRARIES) -> nn.Module:
    """Return a copy of ``model`` in which each named layer holds a trainable block with the given system.

    Parameters
    ----------
    model
        Any module; it is left as it is.
    systems
        Reduced system by the layer's dotted path, as :func:`find_layers` names it.

    Raises
    ------
    LayerError
        If a layer, rebuilt with its own full-order system, does not compute what it did before.
    """
    replaced = copy.deepcopy(model)
    for name, module, library in list(_matches(replaced, libraries)):
        if name not in systems:
            continue
        try:
            _check_replacement(module, library)
            rebuilt = library.rebuild(module, block_of(systems[name]).to(next(module.parameters()).device))
        except LayerError as error:
            raise LayerError(f"Layer {name or '(the model)'} ({library.name}) cannot be replaced: {error}") from error
        if name == "":
            return rebuilt
        # A layer that several parts of the model share stays shared.
        for path in [path for path, other in replaced.named_modules(remove_duplicate=False) if other is module]:
            parent, _, attribute = path.rpartition(".")
            setattr(replaced.get_submodule(parent), attribute, rebuilt)
    return replaced


def exportable(model: nn.Module) -> nn.Module:
    """Return a copy of a replaced model, in eval mode, whose blocks are constants and operators, ready for ``torch.export``."""
    frozen = copy.deepcopy(model).eval()
    if isinstance(frozen, Block):
        return frozen.exported()
    for name, module in list(frozen.named_modules()):
        if isinstance(module, Block):
            parent, _, attribute = name.rpartition(".")
            setattr(frozen.get_submodule(parent), attribute, module.exported())
    return frozen


def blocks(model: nn.Module) -> dict[str, Block]:
    """The reduced blocks of a replaced model, by the name of the layer each stands in."""
    suffix = ".block"
    return {
        name.removesuffix(suffix) if name != "block" else "": module
        for name, module in model.named_modules()
        if isinstance(module, Block)
    }


def exchange_block(replaced: nn.Module, name: str, block: nn.Module) -> None:
    """Put another block in a layer of a replaced model, in place; ``name`` as in :func:`blocks`."""
    layer = replaced.get_submodule(name)
    layer.register_module("block", block)


def block_of(system: System) -> Block:
    """Make the block that holds a system.

    Raises
    ------
    LayerError
        If no kind of block can.
    """
    kind = next((kind for kind in BLOCKS if kind.fits(system)), None)
    if kind is None:
        raise LayerError(
            f"no block holds systems of batch shape {tuple(system.batch_shape)} with {system.inputs} inputs and {system.outputs} "
            "outputs."
        )
    return kind(system)


def _matches(model: nn.Module, libraries: tuple[LayerLibrary, ...]) -> list[tuple[str, nn.Module, LayerLibrary]]:
    found: list[tuple[str, nn.Module, LayerLibrary]] = []
    for name, module in model.named_modules():
        if any(name.startswith(outer + ".") or outer == "" for outer, _, _ in found):
            continue
        library = next((library for library in libraries if library.matches(module)), None)
        if library is not None:
            found.append((name, module, library))
    return found


def _check_replacement(module: nn.Module, library: LayerLibrary) -> None:
    """A layer may look like a library's and compute something else: compare it with its own full-order replacement."""
    system = library.read(module)
    parameter = next(module.parameters())
    rebuilt = library.rebuild(module, block_of(system).to(parameter.device))
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(library.input_shape(module, 2, 64), generator=generator).to(parameter.device)
    answers = (answer_of(layer, u) for layer in (module, rebuilt))
    expected, actual = (x[0] if isinstance(x, tuple) else x for x in answers)
    assert isinstance(expected, Tensor)
    assert isinstance(actual, Tensor)
    difference = float((expected - actual).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not difference <= REPLACEMENT_TOLERANCE:
        raise LayerError(
            f"it has the parameters of {library.name}, but its forward computes something else (relative difference "
            f"{difference:.2g} on noise); register a layer library that reads it."
        )


__all__ = [
    "BLOCKS",
    "LIBRARIES",
    "Block",
    "FoundLayer",
    "LayerError",
    "LayerLibrary",
    "ReducedBank",
    "ReducedMimo",
    "block_of",
    "blocks",
    "exchange_block",
    "exportable",
    "find_layers",
    "replace_layers",
]
