"""The LTI layers of a model: found in its modules, read as systems, or known and refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssm2edge.layers.calls import common_rate, rate_of, takes_rate
from ssm2edge.layers.contract import (
    Block,
    BoundLength,
    FoundLayer,
    LayerError,
    LayerLibrary,
    LengthFromSamples,
    RateFromCalls,
    Refusal,
    RefusedLayer,
    path_of,
)
from ssm2edge.layers.observation import Examples, observe
from ssm2edge.layers.realised import RealisedLayer
from ssm2edge.layers.realising import Reader, realised_model
from ssm2edge.layers.refusals import REFUSALS
from ssm2edge.layers.registry import LIBRARIES
from ssm2edge.layers.selective import Selective
from ssm2edge.systems.system import System

LARGEST_GROWTH = 1e30
"""Growth of an unstable mode on the horizon from which on float32 could not compute the layer."""


def find_layers(
    model: nn.Module,
    libraries: tuple[LayerLibrary, ...] = LIBRARIES,
    refusals: tuple[Refusal, ...] = REFUSALS,
    unstable: bool = False,
) -> list[FoundLayer]:
    """Find the LTI layers of a model, in the order of its modules; a layer of several parts is found once for each.

    Parameters
    ----------
    model
        In which layers are found.
    libraries, refusals
        Kinds of layers that are known.
    unstable
        Take layers with poles on or outside the unit circle: see :func:`check_stable`.

    Raises
    ------
    LayerError
        If there is none, or one cannot be read; the sentence names it.
    """
    found: list[FoundLayer] = []
    counted: set[int] = set()
    for path, module, library in matches(model, libraries, refusals):
        stored = library.parameters(module)
        for part, system in read_systems(path, module, library).items():
            name = name_of(path, part, module)
            if system.order == 0:
                raise LayerError(
                    f"Layer {name or '(the model)'} ({library.name}) has no states, it is its feedthrough alone; give it one at "
                    "least, or put a scale in its place."
                )
            if not unstable:
                _check_stable(name, library.name, system, None)
            elif system.tie is not None and not float(system.poles.abs().max()) < 1:
                # Shared poles are kept by stable banks only.
                system = replace(system, tie=None)
            parameters, frozen = _count(stored[part], counted)
            kind, lengths = library.kind(module), lengths_of(module, library)
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
            "such as a module that convolves with a filter of its own making, or register its library."
        )
    return found


def fix_lengths(model: nn.Module, length: int) -> None:
    """Set the sequence length of layers whose kernel depends on it and which do not store one, in place."""
    for _, module, library in matches(model, LIBRARIES, REFUSALS):
        if isinstance(library, LengthFromSamples):
            library.fix_length(module, length)


def fix_rates(model: nn.Module, examples: Examples) -> None:
    """Record the rates at which a model calls its layers, in place, where they take one.

    Raises
    ------
    LayerError
        If a layer is called at several rates; the sentence names it.
    """
    found = matches(model, LIBRARIES, REFUSALS)
    taking = {
        path: (module, library) for path, module, library in found if isinstance(library, RateFromCalls) and takes_rate(module)
    }
    if not taking:
        return
    for path, calls in observe(model, {path: module for path, (module, _) in taking.items()}, examples.first).items():
        module, library = taking[path]
        rate = common_rate(path, module, [call.arguments for call in calls])
        if rate != rate_of(module):
            library.fix_rate(module, rate)


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
    taken = [path for path, _, _ in (*matches(model, LIBRARIES, REFUSALS), *_refused(model, REFUSALS))]
    return realised_model(model, examples, lti, registered or {}, taken)


def matches(
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
        if refusal is not None and not (isinstance(refusal, Selective) and _is_network(module, refusal)):
            found.append((name, module, refusal))
    return found


def _is_network(module: nn.Module, refusal: Selective) -> bool:
    """Return True if a module has the name of a layer alone, nothing of its own, and layers of a library in it."""
    parts = [part for part in module.modules() if part is not module]
    own = refusal.by_parts(module) or next(module.parameters(recurse=False), None) is not None
    return not own and any(library.matches(part) for part in parts for library in LIBRARIES)


def _inside(name: str, outer: str) -> bool:
    return outer == "" or name.startswith(outer + ".")


def name_of(path: str, part: str, module: nn.Module) -> str:
    """Return the name of a layer, or of one part of it; a block has the name of the layer in which it stands."""
    if isinstance(module, Block):
        path = "" if path == "block" else path.removesuffix(".block")
    return path_of(path, part)


def read_systems(path: str, module: nn.Module, library: LayerLibrary) -> Mapping[str, System]:
    """Read the systems of a layer as they are; see :mod:`ssm2edge.layers.differentiable` for those that follow its parameters."""
    try:
        with torch.no_grad():
            return library.read(module)
    except LayerError as error:
        raise LayerError(f"Layer {path or '(the model)'} ({library.name}) cannot be read: {error}") from error


def check_stable(layers: Iterable[FoundLayer], horizon: int | None) -> None:
    """Refuse layers that grow without limit on the horizon; on a finite one a pole may lie outside the unit circle.

    Raises
    ------
    LayerError
        If the horizon is infinite and a pole is not inside the unit circle, or if a response grows beyond ``LARGEST_GROWTH``.
    """
    for layer in layers:
        _check_stable(layer.name, layer.library, layer.system, horizon)


def _check_stable(name: str, library: str, system: System, horizon: int | None) -> None:
    radius = float(system.poles.abs().max())
    if radius < 1:
        return
    where = f"channel {int(system.poles.abs().amax(-1).argmax())}" if system.batch_shape else "it"
    pole = f"Layer {name or '(the model)'} ({library}) is not stable: {where} has a pole of modulus {radius:.6g}"
    if horizon is None:
        raise LayerError(
            f"{pole}; train it so that every pole lies inside the unit circle, or give the samples on which errors count "
            "(--horizon)."
        )
    if not horizon * math.log(radius) <= math.log(LARGEST_GROWTH):
        raise LayerError(
            f"{pole}, and grows by more than {LARGEST_GROWTH:.0e} on {horizon:,} samples; train it so that its poles lie closer "
            "to the unit circle, or give a shorter horizon (--horizon)."
        )


def lengths_of(module: nn.Module, library: LayerLibrary) -> range | None:
    return library.lengths(module) if isinstance(library, BoundLength) else None


def _count(stored: Iterable[Tensor], counted: set[int]) -> tuple[int, int]:
    """Count the real numbers in tensors that were not counted before, and those of buffers among them."""
    new = [x for x in {id(x): x for x in stored}.values() if id(x) not in counted]
    counted.update(map(id, new))
    sizes = [(x.numel() * (2 if x.is_complex() else 1), isinstance(x, nn.Parameter)) for x in new]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if not trained)
