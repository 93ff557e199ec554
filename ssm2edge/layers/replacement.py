"""The parts that every replaced layer keeps of the original, whatever its library: call, form of answer, hooks, attributes.

A library's replacement is a :class:`Replacement` with a ``compute`` of its own.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ssm2edge.layers.calls import fixed_arguments
from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.dropped import answer_like, left_empty

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
"""Attributes in which a module keeps the hooks of its calls."""

PLAIN = (bool, int, float, str, type(None), torch.dtype)


def answer_of(module: nn.Module, u: Tensor) -> object:
    """Return what a layer answers in eval mode, without gradients and without its hooks; it is left in the mode it was in.

    It is called at the rate at which the model calls it.

    Raises
    ------
    LayerError
        If its forward fails.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            return module.eval().forward(u, **fixed_arguments(module))
    except Exception as error:  # the user's own code may raise anything
        first = str(error).strip().partition("\n")[0] or "no message"
        raise LayerError(
            f"its forward fails on an input of shape {tuple(u.shape)} ({type(error).__name__}: {first.rstrip('.')})."
        ) from error
    finally:
        for part, training in modes:
            part.training = training


def input_like(module: nn.Module, shape: tuple[int, ...], seed: int | None = None) -> Tensor:
    """Return an input of a layer, of the precision and on the device of its weights: zeros, or noise of a seed."""
    stored = [x for x in (*module.parameters(), *module.buffers()) if x.is_floating_point() or x.is_complex()]
    like = stored[0] if stored else torch.zeros(())
    u = torch.zeros(shape) if seed is None else torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return u.to(like.device, like.dtype.to_real())


@dataclass(frozen=True, eq=False)
class CallForm:
    """The call of a layer, and the form of its answer.

    Attributes
    ----------
    signature
        Of its forward.
    container
        None where it returns the tensor itself; else tuple or list, the tensor first.
    empty
        For each value behind the tensor, whether it is None; others are states, which a reduced layer drops.
    ignores
        True if it ignores what ``*args`` and ``**kwargs`` catch, as far as its library knows.
    """

    signature: inspect.Signature
    container: type | None
    empty: tuple[bool, ...]
    ignores: bool

    @staticmethod
    def of(module: nn.Module, shape: tuple[int, ...], ignores: bool = False) -> CallForm:
        """Look at a layer's forward, and at what it answers to zeros of the given shape.

        Raises
        ------
        LayerError
            If its forward fails, or answers neither with a tensor nor with one followed by states.
        """
        answer, signature = answer_of(module, input_like(module, shape)), inspect.signature(module.forward)
        empty = left_empty(answer)
        if empty is None:
            raise LayerError(
                f"its forward returns neither a tensor nor a tensor followed by states ({_described(answer)}), and a reduced "
                "layer has nothing else to return; make the layer return its output alone."
            )
        return CallForm(signature, None if isinstance(answer, Tensor) else type(answer), empty, ignores)

    def named_input(self, kwargs: dict[str, Any], place: str) -> Tensor:
        """Take an input that is given by the name it has in the original's forward out of the arguments.

        Raises
        ------
        LayerError
            If there is none.
        """
        name = next(iter(self.signature.parameters))
        if not isinstance(kwargs.get(name), Tensor):
            raise LayerError(f"{place} is called without a tensor for its input {name}.")
        u: Tensor = kwargs.pop(name)
        return u

    def check(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        place: str,
        mends: Mapping[str, str] | None = None,
        fixed: Mapping[str, float] | None = None,
    ) -> None:
        """Refuse arguments behind the input that would have changed what the original computes.

        Parameters
        ----------
        args, kwargs
            As given.
        place
            The layer, for people.
        mends
            By argument: what to do where calling with the default is not all.
        fixed
            Arguments with which the layer was read, in place of their defaults.

        Raises
        ------
        LayerError
            If one has another value than its default; the sentence names it.
        """
        fixed = fixed or {}
        if not args and not kwargs and not fixed:
            return
        try:
            given = self.signature.bind(None, *args, **kwargs).arguments
        except TypeError as error:
            raise LayerError(f"{place} is called with arguments it does not take ({error}).") from error
        for name, parameter in list(self.signature.parameters.items())[1:]:
            value = given.get(name, parameter.default)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                caught = dict.fromkeys([f"*{name}"], next((x for x in given.get(name, ()) if x is not None), None))
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                caught = given.get(name, {})
            else:
                expected = fixed.get(name, parameter.default)
                if not _same(value, expected):
                    mend = f"call it with {'that of the samples' if name in fixed else 'the default'}, {_described(expected)}"
                    raise LayerError(
                        f"{place} is called with {name}={_described(value)}, which its reduced form does not know; "
                        f"{(mends or {}).get(name, mend)}."
                    )
                continue
            changed = [key for key, extra in caught.items() if extra is not None]
            if changed and not self.ignores:
                raise LayerError(
                    f"{place} is called with {', '.join(changed)}, which its reduced form does not know; call it without."
                )

    def answer(self, y: Tensor) -> Any:
        """Put an output into the form in which the original answers."""
        return answer_like(y, self.container, self.empty)


class Part(nn.Module):
    """Holds the block of one part of a layer that has several."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, u: Tensor, against: int | None = None) -> Tensor:
        """Run along time, or against it where ``against`` says which axis it is."""
        y: Tensor = self.block(u if against is None else u.flip(against))
        return y if against is None else y.flip(against)

    def backwards(self, u: Tensor, time_axis: int = -1) -> Tensor:
        """Run from the end of the sequence to its start."""
        y: Tensor = self(u, time_axis)
        return y


class Replacement(nn.Module, ABC):
    """Stands in a layer's place: called as the layer was, answering in its form, with its hooks and plain attributes.

    Parameters
    ----------
    original
        The layer; it stays as it is.
    blocks
        One per part: ``ONLY`` becomes the attribute ``block``, another one a :class:`Part` of its name.
    shape
        Of an input of the layer.
    ignores
        True if the original ignores what its ``*args`` and ``**kwargs`` catch.
    """

    block: nn.Module
    place: str
    mends: ClassVar[Mapping[str, str]] = {}
    """Mend for a call with an argument, by the argument's name."""

    def __init__(
        self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...], ignores: bool = False
    ) -> None:
        super().__init__()
        self._calls = CallForm.of(original, shape, ignores)
        self.place = f"A {type(original).__name__} layer"
        keep_plain(original, self)
        for part, block in blocks.items():
            if part == ONLY:
                self.block = block
            else:
                self.add_module(part, Part(block))

    def part(self, name: str) -> Part:
        """Return the holder of one part of several."""
        part = self.get_submodule(name)
        assert isinstance(part, Part)
        return part

    def taken(
        self, u: Tensor, args: tuple[object, ...], kwargs: dict[str, Any], *names: str
    ) -> tuple[dict[str, Any], tuple[object, ...], dict[str, Any]]:
        """Take arguments of these names, given by place or by name, out of a call; return them and what is left of it."""
        bound = self._calls.signature.bind_partial(u, *args, **kwargs)
        taken = {name: bound.arguments.pop(name) for name in names if name in bound.arguments}
        return {name: value for name, value in taken.items() if value is not None}, bound.args[1:], bound.kwargs

    @abstractmethod
    def compute(self, u: Tensor) -> Tensor:
        """Compute the layer's output with its blocks."""

    def forward(self, u: Tensor | None = None, *args: object, **kwargs: object) -> Any:
        if u is None:
            u = self._calls.named_input(kwargs, self.place)
        self._calls.check(args, kwargs, self.place, self.mends, fixed_arguments(self))
        return self._calls.answer(self.compute(u))


def keep_plain(original: nn.Module, rebuilt: nn.Module) -> None:
    """Give a rebuilt layer the original's plain attributes, which the model around it may read."""
    for name, value in vars(original).items():
        if not name.startswith("_") and not hasattr(rebuilt, name) and isinstance(value, PLAIN):
            setattr(rebuilt, name, value)


def keep_hooks(original: nn.Module, rebuilt: nn.Module) -> None:
    """Let a rebuilt layer call what the user has hooked to the original's calls."""
    for name in HOOKS:
        getattr(rebuilt, name).update(getattr(original, name))
    rebuilt._is_full_backward_hook = original._is_full_backward_hook


def _same(value: object, default: object) -> bool:
    return value is default or (isinstance(value, PLAIN) and isinstance(default, PLAIN) and value == default)


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(map(_described, value)) or 'nothing'}"
    if value is inspect.Parameter.empty:
        return "which it does not have"
    return repr(value) if isinstance(value, PLAIN) else f"a {type(value).__name__}"
