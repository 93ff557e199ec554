"""Realises systems of modules that the user names, of classes that the user registers, and of long convolutions.

It wraps each into a :class:`~ssm2edge.layers.realised.RealisedLayer`, which the rest of the package finds like any other layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError, Realised, around
from ssm2edge.layers.implicit_filter import OpenedFilter, is_implicit_filter, uses_of
from ssm2edge.layers.long_convolution import is_depthwise, is_long, response_of, route_of
from ssm2edge.layers.observation import THE_MODEL, Call, Examples, Passage, observe, passages
from ssm2edge.layers.placing import put
from ssm2edge.layers.probe import Response, convolved, probe
from ssm2edge.layers.realised import PassageRoute, RealisedLayer
from ssm2edge.systems.dense import is_canonical
from ssm2edge.systems.realisation import Realisation, realise
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System

Reader = Callable[[nn.Module], System]
"""Reads the system of a user's own layer: paper form, a bank ``(channels,)`` or one system ``()``."""

LONG_CONVOLUTION, PROBED, REGISTERED = "long convolution", "probed", "registered"
"""Kinds of realised layers."""

NAMES_SHOWN = 400
"""Letters of the names that a sentence lists."""

REGISTERED_TOLERANCE = 1e-3
"""Largest relative difference between a registered layer's answer to noise and that of the system its reader returns."""


def realised_model(
    model: nn.Module, examples: Examples, lti: Sequence[str], registered: Mapping[type[nn.Module], Reader], taken: Collection[str]
) -> nn.Module:
    """Return a copy of a model whose realised layers hold their systems.

    Parameters
    ----------
    model
        In eval mode; it is left as it is.
    examples
        Inputs of the model.
    lti
        Patterns of the paths of modules that the user declares linear and time-invariant, as ``blocks.*.ssm``.
    registered
        Readers of the user's own layers, by class.
    taken
        Paths of layers that a library reads or refuses: no module inside them counts as a long convolution.

    Raises
    ------
    LayerError
        If a module that was named or registered is no causal LTI layer, or cannot be measured; the sentence names it.
    """
    named = named_modules(model, lti)
    readers = _outermost(model, lambda module: type(module) in registered, named)
    convolutions = _outermost(model, is_long, {*named, *readers, *taken})
    convolutions += [path for path in named if is_depthwise(model.get_submodule(path))]
    filters = _outermost(model, is_implicit_filter, {*readers, *taken, *(path for path in named if not _is_filter(model, path))})
    probed = [path for path in named if path not in (*convolutions, *filters)]
    if not (convolutions or readers or probed or filters):
        return model
    wrapped = copy.deepcopy(model)
    try:
        calls = observe(wrapped, {path: wrapped.get_submodule(path) for path in convolutions}, examples.first)
    except Exception as error:  # the user's own code may raise anything
        raise LayerError(
            f"The model fails on the samples ({type(error).__name__}: {_line(error)}); give samples of the shape and type it was "
            "trained on."
        ) from error
    seen = passages(wrapped, {path: wrapped.get_submodule(path) for path in (*probed, *readers)}, examples)
    layers: dict[str, RealisedLayer] = {}
    for path in convolutions:
        # A convolution whose weights the model uses without a call is a part of another operation.
        if calls[path]:
            layers[path] = _convolution(path or THE_MODEL, wrapped.get_submodule(path), calls[path][0], examples.length)
        elif path in named:
            raise LayerError(f"{path} was named as LTI, but the model does not call it; name a module whose forward is called.")
    opened = {path: _opened(wrapped, path, examples, path in named) for path in filters}
    for path in probed:
        layers[path] = _probed(path or THE_MODEL, wrapped.get_submodule(path), *seen[path], examples.length)
    for path in readers:
        module = wrapped.get_submodule(path)
        layers[path] = _registered(path or THE_MODEL, module, registered[type(module)], *seen[path], examples.length)
    result = _placed(wrapped, layers)
    for path, filter in opened.items():
        if filter is not None:
            _put(result, wrapped.get_submodule(path), filter)
    _check_runs(result, examples)
    return result


def named_modules(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the paths of the modules that patterns name, the outermost ones where some are inside of others.

    Raises
    ------
    LayerError
        If a pattern names none.
    """
    paths = [path for path, _ in model.named_modules()]
    found: list[str] = []
    for pattern in patterns:
        matching = [path for path in paths if fnmatchcase(path, pattern) and (path or not pattern)]
        if not matching:
            known = ", ".join(path for path in paths if path) or "none"
            known = known if len(known) < NAMES_SHOWN else f"{known[:NAMES_SHOWN]}..."
            raise LayerError(f"No module of the model is named {pattern!r}; its modules are {known}.")
        found += matching
    return [path for path in paths if path in found and not _within(path, [other for other in found if other != path])]


def _within(path: str, others: Collection[str]) -> bool:
    return any(other == "" or path == other or path.startswith(other + ".") for other in others)


def _outermost(model: nn.Module, wanted: Callable[[nn.Module], bool], taken: Collection[str]) -> list[str]:
    found: list[str] = []
    for path, module in model.named_modules():
        if wanted(module) and not _within(path, [*taken, *found]):
            found.append(path)
    return found


def _convolution(path: str, module: nn.Module, call: Call, length: int) -> RealisedLayer:
    assert isinstance(module, nn.Conv1d)
    u = call.arguments[0] if 0 in call.arguments else call.arguments["input"]
    route = route_of(module)
    taps = response_of(path, module, u.shape[-1] + route.padding - route.reach)
    bias = None if module.bias is None else module.bias.detach()
    realisation = _realised(path, taps)
    whole = response_of(path, module, 2 * max(taps.shape[-1], route.reach + 1))
    found = impulse_response(realisation.system, whole.shape[-1])
    return RealisedLayer(
        module, LONG_CONVOLUTION, realisation.system, bias, [module.weight], route, _described(realisation, taps),
        None if goes_on(found, whole, taps.shape[-1]) else length,
    )  # fmt: skip


def _probed(path: str, module: nn.Module, passage: Passage, call: Call, length: int) -> RealisedLayer:
    signal = _signal(passage, call)
    response = probe(path, module, passage, signal)
    realisation = _realised(path, response.taps)
    stored: list[Tensor] = [*module.parameters()] or [*module.buffers()]
    return RealisedLayer(
        module,
        PROBED,
        realisation.system,
        response.offset,
        stored,
        PassageRoute(passage),
        _described(realisation, response.taps),
        _longest(module, realisation.system, passage, signal, length),
    )


def _is_filter(model: nn.Module, path: str) -> bool:
    return is_implicit_filter(model.get_submodule(path))


def _opened(model: nn.Module, path: str, examples: Examples, named: bool) -> OpenedFilter | None:
    """Realise every use of an implicit filter; None if the model does not call it, which is an error if it was named."""
    uses, taps = uses_of(model, path, examples)
    if not uses and named:
        raise LayerError(f"{path} was named as LTI, but the model does not call it; name a module whose forward is called.")
    if not uses:
        return None
    module = model.get_submodule(path)
    stored = [*module.parameters(), *module.buffers()]
    layers = []
    for use in uses:
        realisation = realise(use.response.taps)
        record = _described(realisation, use.response.taps)
        # Nothing is known of taps behind those that the samples reach.
        layers.append(
            RealisedLayer(
                module, LONG_CONVOLUTION, realisation.system, use.response.offset, stored, use.route, record, examples.length
            )
        )
    return OpenedFilter(module, layers, taps)


def _realised(path: str, taps: Tensor) -> Realisation:
    try:
        return realise(taps)
    except ValueError as error:
        raise LayerError(f"No system can be found that answers as {path} does: {error}") from error


def _described(realisation: Realisation, taps: Tensor) -> Realised:
    return Realised(taps.shape[-1], realisation.total, int((realisation.repaired > 0).sum()))


def _registered(path: str, module: nn.Module, reader: Reader, passage: Passage, call: Call, length: int) -> RealisedLayer:
    try:
        system = reader(module)
    except Exception as error:  # the user's own code may raise anything
        raise LayerError(
            f"The reader registered for {type(module).__name__} fails on {path} ({type(error).__name__}: {_line(error)})."
        ) from error
    if not isinstance(system, System) or len(system.batch_shape) > 1 or system.M is not None:
        raise LayerError(
            f"The reader registered for {type(module).__name__} must return a linear System, a bank of batch shape "
            f"(channels,) or one system of batch shape (); for {path} it returned {_what(system)}."
        )
    if not is_canonical(system):
        raise LayerError(
            f"The reader registered for {type(module).__name__} must return complex poles in pairs, each beside its conjugate "
            f"and with conjugate coefficients, and real ones behind them; for {path} it did not: where the layer stores half of "
            "each pair or takes a real part, return from_conjugate_half or from_real_part of what it stores."
        )
    signal = _signal(passage, call)
    offset = _check_reader(path, module, system, passage, signal)
    stored: list[Tensor] = [*module.parameters()] or [*module.buffers()]
    longest = _longest(module, system, passage, signal, length)
    return RealisedLayer(module, REGISTERED, system, offset, stored, PassageRoute(passage), None, longest)


def _line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or "no message").rstrip(".")


def _what(value: object) -> str:
    if isinstance(value, System):
        return f"one of batch shape {tuple(value.batch_shape)}" + (" with quadratic outputs" if value.M is not None else "")
    return f"a {type(value).__name__}"


def _check_reader(path: str, module: nn.Module, system: System, passage: Passage, signal: Tensor) -> Tensor | None:
    """Compare a registered layer with the system that its reader returns; return its offset of every sample."""
    bank = bool(system.batch_shape)
    inputs = system.batch_shape.numel() if bank else system.inputs
    if inputs != signal.shape[1] or (bank and not system.is_siso):
        raise LayerError(
            f"The reader registered for {type(module).__name__} returned a system of {inputs} inputs for {path}, which has "
            f"{signal.shape[1]}; return one channel, or one input, for each."
        )
    u = torch.randn(signal.shape, generator=torch.Generator().manual_seed(0)).to(signal)
    with torch.no_grad():
        rest, y = (passage.call(module, x, passage.others).double() for x in (torch.zeros_like(u), u))
    taps = impulse_response(system, signal.shape[-1])
    expected = convolved(Response(taps, None).taps, u.double()) + rest
    largest = float((y - rest).abs().max())
    same = expected.shape == y.shape
    difference = float((y - expected).abs().max()) / max(largest, 1e-30) if same else float("inf")
    if not difference <= REGISTERED_TOLERANCE:
        raise LayerError(
            f"The reader registered for {type(module).__name__} returned another system than {path} computes (relative "
            f"difference {difference:.2g} on noise); return it in paper form: x[k+1] = A x[k] + B u[k], y[k] = C x[k] + D u[k]."
        )
    constant = rest[0, :, -1]
    return constant if float(constant.abs().max()) > 0 else None


def _longest(module: nn.Module, system: System, passage: Passage, signal: Tensor, length: int) -> int | None:
    """Return the samples on which a module was measured, if it answers otherwise on twice as many, or not at all."""
    steps = 2 * signal.shape[-1]
    u = torch.randn((*signal.shape[:-1], steps), generator=torch.Generator().manual_seed(0)).to(signal)
    try:
        with torch.no_grad():
            rest, y = (passage.call(module, x, passage.others).double() for x in (torch.zeros_like(u), u))
    except Exception:  # the user's own code may raise anything
        return length
    expected = convolved(impulse_response(system, steps), u.double())
    return None if y.shape == expected.shape and goes_on(expected, y - rest, signal.shape[-1]) else length


def goes_on(found: Tensor, expected: Tensor, measured: int) -> bool:
    """Return True if signals differ little behind the samples that were measured, or no more than before."""
    difference = found - expected
    before, after = (float(part.norm()) for part in (difference[..., :measured], difference[..., measured:]))
    return after <= max(REGISTERED_TOLERANCE * float(expected.norm()), 2 * before)


def _signal(passage: Passage, call: Call) -> Tensor:
    """Return the input of a module in a call, ``(1, channels, time)``."""
    value: Tensor = call.arguments[passage.key]
    return (value if passage.time_axis == 2 else value.transpose(1, 2))[:1]


def _placed(model: nn.Module, layers: Mapping[str, RealisedLayer]) -> nn.Module:
    for path, layer in layers.items():
        if path == "":
            return around(model, layer)
        _put(model, layer.original, layer)
    return model


def _put(model: nn.Module, original: nn.Module, other: nn.Module) -> None:
    """Put a module in all places of another one: a layer that several parts of the model share stays shared."""
    for place in [place for place, module in model.named_modules(remove_duplicate=False) if module is original]:
        put(model, place, other)


def _check_runs(wrapped: nn.Module, examples: Examples) -> None:
    """Check whether the model uses a layer in another way than calling it, which a block would not have."""
    try:
        with torch.no_grad():
            wrapped(*examples.first)
    except AttributeError as error:
        raise LayerError(
            f"The model reads an attribute of a layer that is to be reduced ({error}); put what is linear and time-invariant "
            "into a module of its own that is only called."
        ) from error
