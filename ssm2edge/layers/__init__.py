"""Which layer of which library holds a System, and the block that replaces it.

A new library is one file with a :class:`~ssm2edge.layers.contract.LayerLibrary` and one line in ``LIBRARIES``; a new shape of
system is one file with a :class:`~ssm2edge.layers.contract.Block` and one line in ``BLOCKS``.  Systems that no library can read
from parameters are found out first, by :func:`realise_layers`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.contract import (
    Block,
    BoundLength,
    FoundLayer,
    LayerError,
    LayerLibrary,
    LengthFromSamples,
    Realised,
    Refusal,
    RefusedLayer,
    path_of,
)
from ssm2edge.layers.dss import DSSLibrary
from ssm2edge.layers.lrnnx import LrnnxS4Library, LrnnxS5Library
from ssm2edge.layers.lru import LRULibrary
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.layers.observation import Examples
from ssm2edge.layers.realised import RealisedLayer, RealisedLibrary
from ssm2edge.layers.realising import LONG_CONVOLUTION, PROBED, REGISTERED, Reader, realised_model
from ssm2edge.layers.refusals import REFUSALS
from ssm2edge.layers.replacement import Replacement, answer_of, input_like, keep_hooks
from ssm2edge.layers.s4 import S4Library
from ssm2edge.layers.s4d import S4DLibrary
from ssm2edge.layers.s5 import S5, S5Library
from ssm2edge.layers.s5_import import s5_from_flax, s5_model_from_flax
from ssm2edge.layers.s5_pytorch import S5PytorchLibrary
from ssm2edge.layers.shared import name_shared_once
from ssm2edge.layers.tied_block import TiedBank
from ssm2edge.systems.rounding import relative_float32_noise
from ssm2edge.systems.system import System

LIBRARIES: tuple[LayerLibrary, ...] = (
    *(RealisedLibrary(kind) for kind in (LONG_CONVOLUTION, PROBED, REGISTERED)),
    S4DLibrary(), S4Library(), DSSLibrary(), LRULibrary(), S5PytorchLibrary(), S5Library(), LrnnxS4Library(), LrnnxS5Library(),
)  # fmt: skip

BLOCKS: tuple[type[Block], ...] = (TiedBank, ReducedBank, ReducedMimo)

LARGEST_NOISE = 3e-6
"""Rounding of a full-order bank's coefficients, relative to its response, from which on it is held in float64."""

CHECKED_LENGTH = 64
"""Samples on which a layer and its replacement are compared, where the layer takes as many."""

REPLACEMENT_TOLERANCE = 1e-3
"""Largest relative difference, in float32, between a layer and its full-order replacement before the layer is refused."""


def find_layers(
    model: nn.Module, libraries: tuple[LayerLibrary, ...] = LIBRARIES, refusals: tuple[Refusal, ...] = REFUSALS
) -> list[FoundLayer]:
    """Find the LTI layers of a model, in the order of its modules; a layer of several parts is found once for each.

    Raises
    ------
    LayerError
        If there is none, or one cannot be read; the sentence names it.
    """
    found: list[FoundLayer] = []
    counted: set[int] = set()
    for path, module, library in _matches(model, libraries, refusals):
        stored = library.parameters(module)
        for part, system in _read(path, module, library).items():
            name = path_of(path, part)
            _check_stable(name, library, system)
            parameters, frozen = _count(stored[part], counted)
            kind, lengths = library.kind(module), _lengths(module, library)
            realised = module.realised if isinstance(module, RealisedLayer) else None
            found.append(FoundLayer(name, library.name, kind, system, parameters, frozen, lengths, realised, path))
    if not found:
        refused = find_refused(model, refusals)
        if refused:
            named = " ".join(f"Layer {layer.name or '(the model)'} ({layer.library}): {layer.reason}" for layer in refused[:1])
            others = f" {len(refused) - 1} more of its layers are refused as well." if len(refused) > 1 else ""
            raise LayerError(f"The model has no layer that can be reduced. {named}{others}")
        known = ", ".join(library.name for library in libraries)
        raise LayerError(
            f"The model has no layer that ssm2edge knows (it knows: {known}); name what is linear and time-invariant with --lti, "
            "or register its library."
        )
    return found


def fix_lengths(model: nn.Module, length: int) -> None:
    """Let layers whose kernel depends on a length that they do not say be what they are on ``length`` samples, in place."""
    for _, module, library in _matches(model, LIBRARIES, REFUSALS):
        if isinstance(library, LengthFromSamples):
            library.fix_length(module, length)


def check_lengths(layers: Iterable[FoundLayer], length: int) -> None:
    """Refuse to take layers for what they are on sequences of other lengths.

    Raises
    ------
    LayerError
        If a layer is no system, or another one, on ``length`` samples.
    """
    for layer in layers:
        if layer.lengths is not None and length not in layer.lengths:
            first, last = layer.lengths[0], layer.lengths[-1]
            span = f"exactly {last:,}" if first == last else f"up to {last:,}"
            raise LayerError(
                f"Layer {layer.name or '(the model)'} ({layer.library}) is one system on sequences of {span} samples, and the "
                f"model is used on {length:,}; give samples of the length that the layer was made for, or raise its longest one."
            )


def find_refused(model: nn.Module, refusals: tuple[Refusal, ...] = REFUSALS) -> list[RefusedLayer]:
    """Find the layers that are known and not LTI; a build leaves them as they are."""
    return [RefusedLayer(name, refusal.name, refusal.reason(module)) for name, module, refusal in _refused(model, refusals)]


def realise_layers(
    model: nn.Module, examples: Examples, lti: Sequence[str] = (), registered: Mapping[type[nn.Module], Reader] | None = None
) -> nn.Module:
    """Find out the systems of layers that no library reads: what the user names or registers, and long convolutions.

    Parameters
    ----------
    model
        In eval mode; it is left as it is.
    examples
        Inputs of the model, on which it is seen how it calls these layers.
    lti
        Patterns of the paths of modules that are linear and time-invariant, as ``blocks.*.ssm``: each is tested for it.
    registered
        Readers of the user's own layers, by class.

    Returns
    -------
    nn.Module
        The model itself, or a copy that computes the same and in which :func:`find_layers` finds these layers, too.

    Raises
    ------
    LayerError
        If a module that was named or registered is no causal LTI layer, or cannot be measured; the sentence names it.
    """
    taken = [path for path, _, _ in (*_matches(model, LIBRARIES, REFUSALS), *_refused(model, REFUSALS))]
    return realised_model(model, examples, lti, registered or {}, taken)


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
    for path, module, library in list(_matches(replaced, libraries, REFUSALS)):
        own = _read(path, module, library)
        names = {part: path_of(path, part) for part in own}
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
            return rebuilt
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


def block_of(system: System, exact: bool = False) -> Block:
    """Make the block that holds a system, in float32.

    Parameters
    ----------
    system
        The system.
    exact
        Hold a bank in float64 where float32 could not: what stands for an original must not be worse than it.

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
    if exact and issubclass(kind, ReducedBank) and bool((relative_float32_noise(system) > LARGEST_NOISE).any()):
        return kind(system, torch.float64)
    return kind(system)


def _refused(model: nn.Module, refusals: tuple[Refusal, ...]) -> list[tuple[str, nn.Module, Refusal]]:
    found: list[tuple[str, nn.Module, Refusal]] = []
    realised: list[str] = []
    for name, module in model.named_modules():
        # What was found out to be a system is not refused for the names of its parts.
        if isinstance(module, RealisedLayer):
            realised.append(name)
        if any(_inside(name, outer) for outer in (*realised, *(outer for outer, _, _ in found))):
            continue
        refusal = next((refusal for refusal in refusals if refusal.matches(module)), None)
        if refusal is not None:
            found.append((name, module, refusal))
    return found


def _matches(
    model: nn.Module, libraries: tuple[LayerLibrary, ...], refusals: tuple[Refusal, ...]
) -> list[tuple[str, nn.Module, LayerLibrary]]:
    refused = [name for name, _, _ in _refused(model, refusals)]
    found: list[tuple[str, nn.Module, LayerLibrary]] = []
    for name, module in model.named_modules():
        if name in refused or any(_inside(name, outer) for outer in (*refused, *(outer for outer, _, _ in found))):
            continue
        library = next((library for library in libraries if library.matches(module)), None)
        if library is not None:
            found.append((name, module, library))
    return found


def _inside(name: str, outer: str) -> bool:
    return outer == "" or name.startswith(outer + ".")


def _read(path: str, module: nn.Module, library: LayerLibrary) -> Mapping[str, System]:
    try:
        return library.read(module)
    except LayerError as error:
        raise LayerError(f"Layer {path or '(the model)'} ({library.name}) cannot be read: {error}") from error


def _check_stable(name: str, library: LayerLibrary, system: System) -> None:
    radius = float(system.poles.abs().max())
    if not radius < 1:
        where = f"channel {int(system.poles.abs().amax(-1).argmax())}" if system.batch_shape else "it"
        raise LayerError(
            f"Layer {name or '(the model)'} ({library.name}) is not stable: {where} has a pole of modulus "
            f"{radius:.6g}; train it so that every pole lies inside the unit circle."
        )


def _lengths(module: nn.Module, library: LayerLibrary) -> range | None:
    return library.lengths(module) if isinstance(library, BoundLength) else None


def _count(stored: Iterable[Tensor], counted: set[int]) -> tuple[int, int]:
    """Real numbers in tensors that were not counted before, and how many of them are buffers."""
    new = [x for x in {id(x): x for x in stored}.values() if id(x) not in counted]
    counted.update(map(id, new))
    sizes = [(x.numel() * (2 if x.is_complex() else 1), isinstance(x, nn.Parameter)) for x in new]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if not trained)


def _rebuilt(module: nn.Module, library: LayerLibrary, systems: Mapping[str, System], own: Mapping[str, System]) -> nn.Module:
    device = next((x.device for x in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    # A part of its own order stands for the original.
    made = {part: block_of(system, exact=system.order == own[part].order) for part, system in systems.items()}
    tied = [block for block in made.values() if isinstance(block, TiedBank)]
    for block in tied[1:]:
        block.share(tied[0])
    rebuilt = library.rebuild(module, {part: block.to(device).train(module.training) for part, block in made.items()})
    rebuilt.training = module.training
    return rebuilt


def _check_replacement(module: nn.Module, library: LayerLibrary, systems: Mapping[str, System]) -> None:
    """A layer may look like a library's and compute something else: compare it with its own full-order replacement."""
    if isinstance(module, RealisedLayer):
        # It was measured, or compared with what its reader returned; how well the system fits is told.
        return
    lengths = _lengths(module, library)
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


__all__ = [
    "BLOCKS",
    "LIBRARIES",
    "REFUSALS",
    "S5",
    "Block",
    "Examples",
    "FoundLayer",
    "LayerError",
    "LayerLibrary",
    "Reader",
    "Realised",
    "ReducedBank",
    "ReducedMimo",
    "Refusal",
    "RefusedLayer",
    "TiedBank",
    "block_of",
    "blocks",
    "check_lengths",
    "exchange_block",
    "exportable",
    "find_layers",
    "find_refused",
    "fix_lengths",
    "realise_layers",
    "replace_layers",
    "s5_from_flax",
    "s5_model_from_flax",
]
