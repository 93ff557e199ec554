"""Implicit long filters as Hyena uses them: the operator reads the filter, and gives it back with every use.

    k = filter_fn.filter(L)        for each use o: v = filter_fn(v, L, k=k[o], bias=bias[o])

with taps that a small network computes from their positions, and the module's ``bias`` as feedthrough.  So one module is several
layers, one for each use, and the operator reads attributes of it.  An :class:`OpenedFilter` in its place holds a realised layer
for each use, and answers the operator's questions as the filter does, or, once no use needs the taps, by zeros of their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.observation import Arguments, Call, Examples, Key, Passage, observe, same
from ssm2edge.layers.probe import Response, probe
from ssm2edge.layers.replacement import keep_plain

if TYPE_CHECKING:
    from ssm2edge.layers.realised import ReducedRealised

FILTER, BIAS, NETWORK = "filter", "bias", "implicit_filter"

LONGEST = "l_max"
"""Attribute of operators that cut sequences to the taps there are."""

LARGEST = 2**63 - 1
"""Size that no tensor has."""

AXES = (3, 5)
"""Axes of signals: (batch, channels, time), or with heads in front of the channels and blocks of time behind them."""


def is_implicit_filter(module: nn.Module) -> bool:
    """Return whether a module is a filter that computes its taps when it is asked for them."""
    return (
        not isinstance(module, OpenedFilter)
        and callable(getattr(module, FILTER, None))
        and isinstance(getattr(module, NETWORK, None), nn.Module)
    )


class Unbound(int):
    """A length that no sequence reaches: its minimum with another one is the other, also while that is a symbol of an export."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take part in operators as the number it is, but in the minimum of symbols."""
        if function is torch.sym_min:
            return next(length for length in args if not isinstance(length, cls))
        return function(*(int(x) if isinstance(x, cls) else x for x in args), **(kwargs or {}))


@dataclass(frozen=True, eq=False)
class FilterRoute:
    """The call of a block in the place of one use of a filter."""

    key: Key

    def through(self, reduced: ReducedRealised, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """Filter the signal, and leave the taps that are given with it."""
        u: Tensor = args[self.key] if isinstance(self.key, int) else kwargs[self.key]
        y = reduced.filtered(_flat(u), 2)
        return _shaped(y, u.ndim)


@dataclass(frozen=True, eq=False)
class Taps:
    """The form in which a filter returns its taps: a tensor, or a tuple that begins with one; the axis of time in it."""

    shape: tuple[int, ...]
    time_axis: int
    alone: bool

    def silent(self, like: Tensor, length: int | torch.SymInt) -> Any:
        """Return zeros of the form."""
        shape = [length if axis == self.time_axis else size for axis, size in enumerate(self.shape)]
        zeros = like.new_zeros(()).expand(shape)
        return zeros if self.alone else (zeros,)


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a filter: the argument that is its signal, its response, its observed length, and its route."""

    response: Response
    length: int
    route: FilterRoute


class OpenedFilter(nn.Module):
    """Stands in a filter's place, and holds a layer for each use of it in a forward of its operator.

    Parameters
    ----------
    original
        The filter.
    uses
        Layers in the order of their uses, each of which holds the filter as its ``original`` until it is reduced.
    taps
        The form in which the filter returns its taps; None if nobody asked.
    """

    silence: Tensor | None

    def __init__(self, original: nn.Module, uses: Sequence[nn.Module], taps: Taps | None) -> None:
        super().__init__()
        keep_plain(original, self)
        for place, use in enumerate(uses):
            self.add_module(str(place), use)
        self._taps, self._uses, self._next = taps, len(uses), 0
        bias = getattr(original, BIAS, None)
        silence = torch.zeros_like(bias.detach()) if isinstance(bias, Tensor) else None
        self.register_buffer("silence", silence, persistent=False)
        self.training = original.training

    def placed_in(self, operator: nn.Module) -> None:
        """Let the operator take sequences of any length, in place: up to its longest one its answers stay.

        Systems go on where taps end, and a model whose length is bound has no graph for free lengths.
        """
        if isinstance(getattr(operator, LONGEST, None), int):
            setattr(operator, LONGEST, Unbound(LARGEST))

    def _original(self) -> nn.Module | None:
        held = (getattr(use, "original", None) for use in self._modules.values())
        return next((module for module in held if isinstance(module, nn.Module)), None)

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        """Return the taps for a length, or zeros of their form once nothing depends on them."""
        self._next = 0
        original = self._original()
        if original is not None:
            answer: Callable[..., Any] = getattr(original, FILTER)
            return answer(*args, **kwargs)
        length = next(value for value in (*args, *kwargs.values()) if isinstance(value, int | torch.SymInt))
        assert self._taps is not None
        return self._taps.silent(next(x for x in (*self.parameters(), *self.buffers()) if x.is_floating_point()), length)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        use, self._next = self._modules[str(self._next % self._uses)], self._next + 1
        assert use is not None
        return use(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            original = self._original() if "_modules" in self.__dict__ and not name.startswith("_") else None
            if original is not None:
                return getattr(original, name)
            if name == BIAS and self.silence is not None:
                return self.silence
            raise


def uses_of(model: nn.Module, path: str, examples: Examples) -> tuple[list[Use], Taps | None]:
    """Find out how a model uses a filter, and measure the response of every use.

    Parameters
    ----------
    model
        In eval mode.
    path
        Path of the filter.
    examples
        Inputs of the model.

    Returns
    -------
    list of Use
        In the order of one forward of the operator; empty if the filter is not called.
    Taps or None
        The form in which it returns its taps.

    Raises
    ------
    LayerError
        If a use is no causal LTI system, or filters blocks of time one by one; the sentence names the filter.
    """
    module = model.get_submodule(path)
    taps: list[Taps] = []
    plain: Callable[..., Any] = getattr(module, FILTER)

    def noted(*args: Any, **kwargs: Any) -> Any:
        answer = plain(*args, **kwargs)
        length = next((value for value in (*args, *kwargs.values()) if isinstance(value, int)), None)
        tensor = answer[0] if isinstance(answer, tuple) else answer
        if isinstance(tensor, Tensor) and length in tensor.shape:
            # Positions come before channels where both are as many.
            axis = tensor.shape.index(length)
            taps.append(Taps(tuple(tensor.shape), axis, isinstance(answer, Tensor)))
        return answer

    object.__setattr__(module, FILTER, noted)
    try:
        first, second = (observe(model, {path: module}, inputs)[path] for inputs in (examples.first, examples.second))
    finally:
        object.__delattr__(module, FILTER)
    if not first:
        return [], None
    keys = [_signal_key(path, one, other) for one, other in zip(first, second, strict=True)]
    calls = zip(first, keys, strict=True)
    others = [{name: value for name, value in call.arguments.items() if name != key} for call, key in calls]
    period = next(n for n in range(1, len(first) + 1) if len(first) % n == 0 and _repeats(others, n))
    uses = [_measured(path, module, first[i], keys[i], others[i]) for i in range(period)]
    return uses, taps[0] if taps else None


def _repeats(others: Sequence[Arguments], period: int) -> bool:
    pairs = [(one, others[place % period]) for place, one in enumerate(others)]
    return all(set(one) == set(other) and all(same(value, other[name]) for name, value in one.items()) for one, other in pairs)


def _signal_key(path: str, one: Call, other: Call) -> Key:
    changing = [key for key, x in one.arguments.items() if isinstance(x, Tensor) and not same(x, other.arguments.get(key))]
    if len(changing) != 1 or one.arguments[changing[0]].ndim not in AXES:
        raise LayerError(
            f"{path} has {len(changing)} inputs that change with the samples; an implicit filter has one, of three or five axes."
        )
    return changing[0]


class _Flat(nn.Module):
    """A filter as a module of ``(batch, channels, time)``, its signal the first argument."""

    def __init__(self, module: nn.Module, key: Key, ndim: int) -> None:
        super().__init__()
        self.module, self.key, self.ndim = module, key, ndim

    def forward(self, u: Tensor, others: Arguments) -> Tensor:
        arguments = {**others, self.key: _shaped(u, self.ndim)}
        positions = sorted(key for key in arguments if isinstance(key, int))
        names = {key: value for key, value in arguments.items() if isinstance(key, str)}
        y: Tensor = self.module.forward(*(arguments[position] for position in positions), **names)
        return _flat(y)


@dataclass(frozen=True, eq=False)
class _FlatPassage(Passage):
    def call(self, module: nn.Module, u: Tensor, others: Arguments) -> Tensor:
        y: Tensor = module.forward(u, others)
        return y


def _measured(path: str, module: nn.Module, call: Call, key: Key, others: Arguments) -> Use:
    u: Tensor = call.arguments[key]
    if u.ndim == AXES[1] and (u.shape[1] != 1 or u.shape[3] != 1):
        raise LayerError(
            f"{path} filters {u.shape[1]} heads and {u.shape[3]} blocks of time one by one, which no system of the "
            "whole sequence does; use one head and one block."
        )
    passage = _FlatPassage(0, others, 2, None, ())
    response = probe(path, _Flat(module, key, u.ndim), passage, _flat(u)[:1])
    return Use(response, u.shape[-1], FilterRoute(key))


def _flat(u: Tensor) -> Tensor:
    return u.squeeze(3).squeeze(1) if u.ndim == AXES[1] else u


def _shaped(u: Tensor, ndim: int) -> Tensor:
    return u.unsqueeze(1).unsqueeze(3) if ndim == AXES[1] else u
