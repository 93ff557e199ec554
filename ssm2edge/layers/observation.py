"""The calls of a module in its model, observed while the model runs on samples.

The argument that changes from sample to sample is the module's signal; the others are settings and keep their observed values.
The axis that shrinks with the sequence is time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.dropped import answer_like, left_empty

Key = int | str
"""Place of an argument in a call: its position, or its name."""

Arguments = dict[Key, Any]

THE_MODEL = "(the model)"
"""Name, in sentences, of a module that is the whole model and so has no path."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of a model to observe it with, one sequence each.

    Attributes
    ----------
    first, second
        Two different sequences of one length.
    shorter
        The beginning of the first; None to skip the run on it.
    length
        Samples of the first.
    """

    first: Sequence[Tensor]
    second: Sequence[Tensor]
    shorter: Sequence[Tensor] | None
    length: int

    @staticmethod
    def of(inputs: Sequence[Tensor], time_axes: Sequence[int | None]) -> Examples:
        """Take them from samples ``(samples, ...)``; a single one serves twice, once rolled in time.

        What is given once for a whole sequence is the same in all of them.
        """
        pairs = list(zip(inputs, time_axes, strict=True))
        first = [x[:1] for x in inputs]
        second = [x[:1] if axis is None else x[1:2] if len(x) > 1 else x[:1].roll(1, axis) for x, axis in pairs]
        length = next(x.shape[axis] for x, axis in pairs if axis is not None)
        kept = length - length // 3
        shorter = [x[:1] if axis is None else x[:1].narrow(axis, 0, kept) for x, axis in pairs] if length > 2 else None
        return Examples(first, second, shorter, length)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module: its arguments and its answer."""

    arguments: Arguments
    answer: object


@dataclass(frozen=True, eq=False)
class Passage:
    """The way of a signal into a module and out of it.

    Attributes
    ----------
    key
        Argument that is the signal.
    others
        The other arguments, equal in every call.
    time_axis
        Of the signal and of the output: 1 or 2 of three axes, the batch being the first.
    container
        None if the module returns the tensor itself; else tuple or list, the tensor first.
    empty
        For each value behind the tensor, whether it is None; others are states, which a reduced layer drops.
    """

    key: Key
    others: Arguments
    time_axis: int
    container: type | None
    empty: tuple[bool, ...]

    def signal(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """Return the signal of a call, as the module gets it."""
        value: Tensor = args[self.key] if isinstance(self.key, int) else kwargs[self.key]
        return value

    def answer(self, y: Tensor) -> Any:
        """Return an output in the form in which the module answers."""
        return answer_like(y, self.container, self.empty)

    def call(self, module: nn.Module, u: Tensor, others: Arguments) -> Tensor:
        """Call the module with another signal, ``(batch, channels, time)`` in and out."""
        arguments = {**others, self.key: u if self.time_axis == 2 else u.transpose(1, 2)}
        positions = sorted(key for key in arguments if isinstance(key, int))
        names = {key: value for key, value in arguments.items() if isinstance(key, str)}
        y = _tensor_of(module.forward(*(arguments[position] for position in positions), **names))
        assert y is not None
        return y if self.time_axis == 2 else y.transpose(1, 2)


def passages(model: nn.Module, modules: Mapping[str, nn.Module], examples: Examples) -> dict[str, tuple[Passage, Call]]:
    """Find out how each module is called, by running the model on the examples.

    Parameters
    ----------
    model
        In eval mode.
    modules
        Parts of it by path.

    Returns
    -------
    dict
        By path: the passage, and an observed call.

    Raises
    ------
    LayerError
        If a module is not called, or not as a module with one signal is; the sentence names it.
    """
    first, second = (observe(model, modules, inputs) for inputs in (examples.first, examples.second))
    shorter: dict[str, list[Call]] | None = None
    if examples.shorter is not None:
        try:
            shorter = observe(model, modules, examples.shorter)
        except Exception:  # the user's own code may raise anything; the sizes alone identify a model of one length
            shorter = None
    return {
        path: (_passage(path or THE_MODEL, first[path], second[path], None if shorter is None else shorter[path]), first[path][0])
        for path in modules
    }


def observe(model: nn.Module, modules: Mapping[str, nn.Module], inputs: Sequence[Tensor]) -> dict[str, list[Call]]:
    """Run a model, and note the calls of some of its modules."""
    calls: dict[str, list[Call]] = {path: [] for path in modules}

    def noting(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> None:
            given: list[tuple[Key, Any]] = [*enumerate(args), *kwargs.items()]
            calls[path].append(Call({key: _kept(value) for key, value in given}, _kept(answer)))

        return note

    handles = [module.register_forward_hook(noting(path), with_kwargs=True) for path, module in modules.items()]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _kept(value: Any) -> Any:
    """Return a copy of a value, whatever the model does to it later."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(_kept(item) for item in value)
    return value


def _tensor_of(answer: object) -> Tensor | None:
    if isinstance(answer, tuple | list) and len(answer) > 0:
        answer = answer[0]
    return answer if isinstance(answer, Tensor) else None


def _passage(path: str, first: list[Call], second: list[Call], shorter: list[Call] | None) -> Passage:
    if not first or not second:
        raise LayerError(
            f"{path} was named as LTI, but the model does not call it (another of its methods or a part of it may be used "
            "instead); name a module whose forward is called."
        )
    a, b = first[0].arguments, second[0].arguments
    changing = [key for key in a if isinstance(a[key], Tensor) and not same(a[key], b.get(key))]
    if not changing:
        raise LayerError(f"{path} was named as LTI, but no input of it changes with the samples; name a module on their way.")
    if len(changing) > 1:
        raise LayerError(
            f"{path} has {len(changing)} inputs that change with the samples (arguments {', '.join(map(str, changing))}); an LTI "
            "layer has one: put what is linear in one of them into a module of its own, and name that."
        )
    (key,) = changing
    others = {name: value for name, value in a.items() if name != key}
    for call in (*first[1:], *second):
        rest = {name: value for name, value in call.arguments.items() if name != key}
        differing = [name for name in {*others, *rest} if not same(others.get(name), rest.get(name))]
        if differing:
            raise LayerError(
                f"{path} is called in more than one way (its argument {differing[0]} changes from call to call), so it is no "
                "fixed system; give each use a module of its own."
            )
    signal, answer = a[key], first[0].answer
    output, empty = _tensor_of(answer), left_empty(answer)
    if output is None or empty is None:
        raise LayerError(
            f"{path} returns neither a tensor nor a tensor followed by states, and a reduced layer has nothing else to return; "
            "make it return its output alone."
        )
    if signal.ndim != 3 or output.ndim != 3 or not signal.is_floating_point():
        raise LayerError(
            f"{path} takes {signal.dtype} of shape {tuple(signal.shape)} and returns shape {tuple(output.shape)}; an LTI layer "
            "takes and returns (batch, channels, time) or (batch, time, channels)."
        )
    before = None if not shorter else shorter[0].arguments.get(key)
    axis = _time_axis(path, signal, before if isinstance(before, Tensor) else None)
    if output.shape[axis] != signal.shape[axis]:
        raise LayerError(
            f"{path} changes the length of the sequence (shape {tuple(signal.shape)} to {tuple(output.shape)}); an LTI layer "
            "answers each sample with one sample."
        )
    return Passage(key, others, axis, None if isinstance(answer, Tensor) else type(answer), empty)


def _time_axis(path: str, signal: Tensor, shorter: Tensor | None) -> int:
    if shorter is None:
        # The longer axis is time, as a rule; the tests of linearity and time-invariance find exceptions.
        return 2 if signal.shape[2] >= signal.shape[1] else 1
    changed = [axis for axis in (1, 2) if signal.shape[axis] != shorter.shape[axis]]
    if len(changed) != 1:
        raise LayerError(
            f"{path} takes shape {tuple(signal.shape)}, and {tuple(shorter.shape)} for a shorter sequence: there is no one "
            "axis that is time; name a module along the sequence."
        )
    return changed[0]


def same(a: object, b: object) -> bool:
    """Return whether two arguments are the same, tensors number by number."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b))
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    try:
        return a is b or bool(a == b)
    except Exception:  # a comparison of foreign objects may raise anything
        return False
