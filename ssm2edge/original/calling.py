"""A model called as its user calls it, behind one calling convention: tensors by position in, a tuple of tensors out.

Samples enter the user's forward by position, by keyword, or as one dictionary.  What it answers may be a tensor, a tuple or list,
a dictionary, a named tuple or a dataclass, and these within each other; tensors keep the names that they have there.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.layers import Wrapper
from ssm2edge.loading import Arguments

ALONE = "output"
"""Name of an output that has none."""

RESERVED = ("state.", "next.", "layer.")
"""Beginnings of the names of states and of layers' outputs."""


class Called(Wrapper):
    """A model that takes tensors by position and answers with a tuple of tensors.

    Its modules, parameters and buffers are those of the user's model, under the same names.

    Attributes
    ----------
    arguments
        The way of the tensors into the user's forward.
    outputs
        Name of each output, by its place in the answer of the user's model.
    dropped
        Places of tensors without an axis, which are no answers to single sequences.
    """

    def __init__(self, model: nn.Module, arguments: Arguments, outputs: Mapping[str, str], dropped: Sequence[str] = ()) -> None:
        super().__init__()
        self.arguments, self.outputs, self.dropped = arguments, dict(outputs), tuple(dropped)
        self.training = model.training
        # No submodule: paths of layers stay as they are.
        self.__dict__["_model"] = model
        self._modules, self._parameters, self._buffers = model._modules, model._parameters, model._buffers
        # The exporter names inputs by the signature.
        names = ["self", *valid_names(arguments.names, r"\W", "_")]

        def forward(self: Called, *tensors: Tensor) -> tuple[Tensor, ...]:
            args, kwargs = self.arguments.filled(tensors)
            found = dict(entries(self.original(*args, **kwargs)))
            return tuple(found[place] for place in self.outputs)

        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by inspect.signature
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        )
        self.__dict__["forward"] = MethodType(forward, self)

    @property
    def original(self) -> nn.Module:
        """The user's model, with its own calling convention."""
        model: nn.Module = self.__dict__["_model"]
        return model

    def around(self, model: nn.Module) -> Called:
        """Return another model, called in the same way."""
        return Called(model, self.arguments, self.outputs, self.dropped)

    def train(self, mode: bool = True) -> Called:
        """Set the mode of the user's model, too."""
        self.original.train(mode)
        self.training = mode
        return self

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Name the modules of the user's model, itself first."""
        yield from self.original.named_modules(memo, prefix, remove_duplicate)

    def get_submodule(self, target: str) -> nn.Module:
        """Return a module of the user's model."""
        return self.original.get_submodule(target)

    def __repr__(self) -> str:
        return f"{self.arguments} {self.outputs} {self.original!r}"


def called(model: nn.Module, arguments: Arguments, sample: Sequence[Tensor]) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a model that takes its inputs by position and answers with a tensor or a tuple, and the names of its outputs.

    It is the user's model itself, where that does so.

    Parameters
    ----------
    model
        In eval mode.
    arguments
        The way of samples into its forward.
    sample
        One sequence of each input, to see what the model answers with.

    Raises
    ------
    UserError
        If the model cannot take the sample, or its answer holds no tensor.
    """
    args, kwargs = arguments.filled(sample)
    answer = answer_of(model, args, kwargs, dict(zip(arguments.names, sample, strict=True)))
    plain = type(answer) in (tuple, list) and answer and all(isinstance(x, Tensor) and x.ndim for x in answer)
    if arguments.plain and (plain or isinstance(answer, Tensor)):
        return model, output_names(model, len(answer) if plain else 1)
    found = dict(entries(answer))
    places = [place for place, value in found.items() if value.ndim or isinstance(answer, Tensor)]
    if not places:
        raise UserError(
            f"The model's forward must return a tensor, or tensors in a tuple, a dictionary or a dataclass, and it returned "
            f"{_described(answer)}; let the factory return a module whose forward returns the tensors of its answer."
        )
    names = [re.sub(r"[^\w.\-]", "_", place) for place in places]
    if all(place == ALONE or place.startswith(f"{ALONE}.") for place in places) and len(places) == 1:
        names = [ALONE]
    # An output must not be called as an input or a state is.
    taken = {*arguments.names, *valid_names(arguments.names, r"\W", "_")}
    names = [f"{ALONE}.{name}" if name in taken or name.startswith(RESERVED) else name for name in names]
    outputs = dict(zip(places, valid_names(names, r"[^\w.\-]", "_"), strict=True))
    wrapped = Called(model, arguments, outputs, [place for place in found if place not in outputs])
    return wrapped, output_names(wrapped, len(places))


def valid_names(names: Sequence[str], forbidden: str, instead: str) -> list[str]:
    """Return names without forbidden characters, all different and none empty or beginning with a digit."""
    found: list[str] = []
    for name in names:
        valid = re.sub(forbidden, instead, name)
        valid = valid if valid and not valid[0].isdigit() else f"{instead}{valid}"
        while valid in found:
            valid += instead
        found.append(valid)
    return found


def left_out(model: nn.Module) -> str | None:
    """Return a sentence on the parts of a model's answer that no artifact has; None if it has all."""
    dropped = model.dropped if isinstance(model, Called) else ()
    if not dropped:
        return None
    one = len(dropped) == 1
    return (
        f"{', '.join(dropped)} of the model's answer {'is a single number' if one else 'are single numbers'}, not one for each "
        f"sequence: the artifact is without {'it' if one else 'them'}."
    )


def output_names(model: nn.Module, count: int) -> tuple[str, ...]:
    """Return the names of a model's outputs: those of the user, or ``output``, or ``output.0``, ``output.1``, ..."""
    if isinstance(model, Called):
        return tuple(model.outputs.values())
    return (ALONE,) if count == 1 else tuple(f"{ALONE}.{i}" for i in range(count))


def entries(answer: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an answer, each with its place in it; numbers that are no tensors, text and None are left out.

    Raises
    ------
    UserError
        If the answer holds anything else.
    """
    if isinstance(answer, Tensor):
        yield place or ALONE, answer
        return
    if answer is None or isinstance(answer, bool | int | float | complex | str):
        return
    if isinstance(answer, Mapping):
        parts = [(str(key), value) for key, value in answer.items()]
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        parts = [(field.name, getattr(answer, field.name)) for field in dataclasses.fields(answer)]
    elif isinstance(answer, tuple) and hasattr(answer, "_fields"):
        parts = list(zip(answer._fields, answer, strict=True))
    elif isinstance(answer, tuple | list):
        parts, place = [(str(i), value) for i, value in enumerate(answer)], place or ALONE
    else:
        where = f" as {place}" if place else ""
        raise UserError(
            f"The model's forward must return tensors, and it returned {_described(answer)}{where}; let the factory return a "
            "module whose forward returns the tensors of its answer."
        )
    for name, value in parts:
        yield from entries(value, f"{place}.{name}" if place else name)


def _described(answer: Any) -> str:
    if answer is None or (isinstance(answer, Mapping | tuple | list) and not answer):
        return "nothing"
    return f"a {type(answer).__name__}" + (" without tensors" if isinstance(answer, Mapping | tuple | list) else "")


def answer_of(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """Return what a model answers without gradients.

    Raises
    ------
    UserError
        If it cannot take the inputs; the sentence names their shapes.
    """
    try:
        with torch.no_grad():
            return model(*args, **kwargs)
    except UserError:
        raise
    except Exception as error:  # the user's own code may raise anything
        shapes = ", ".join(f"{name} {tuple(x.shape[1:])}" for name, x in inputs.items())
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        mend = _mend(model, inputs, first)
        raise UserError(
            f"The model cannot take the samples (shapes per sample: {shapes}; {first.rstrip('.')}); {mend}."
        ) from error


def _mend(model: nn.Module, inputs: Mapping[str, Any], complaint: str) -> str:
    """Say what to do about a model that fails on its samples, which are float32 or integers."""
    if (clause := other_precision(model)) is not None:
        return clause
    # Modules in memory are taken in float32: a cast for a part in another precision fits no more.
    if re.search(r"dtype|Input type", complaint) and all("float" in str(x.dtype) for x in inputs.values()):
        return "weights, samples and graphs are float32: take casts to another precision out of its forward"
    if re.search("embedding|one_hot", complaint) and all("float" in str(x.dtype) for x in inputs.values()):
        name, x = next(iter(inputs.items()))
        shape = f"{'' if len(inputs) == 1 else f'{name}='}{x.shape[1] if x.ndim > 1 else 1}:tokens"
        return f"it looks up tokens: give samples of integers, or the shape --shape {shape}"
    return "give samples of the shape and type it was trained on"


def other_precision(model: nn.Module) -> str | None:
    """Return a clause on the weights of a model that are not float32, and the mend; None if all are."""
    floats = {name: x.dtype for name, x in model.named_parameters() if x.is_floating_point()}
    others = {name: dtype for name, dtype in floats.items() if dtype != torch.float32}
    if not others:
        return None
    precisions = ", ".join(str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(others.values()))
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    named = "its weights are" if len(others) == len(floats) else f"its weights {next(iter(others))}{more} are"
    return f"{named} {precisions}, samples and graphs are float32: let the factory return model.float()"
