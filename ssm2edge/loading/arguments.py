"""The arguments of a model's forward, and their values from named samples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssm2edge.errors import UserError


@dataclass(frozen=True)
class Arguments:
    """The entry of named samples into a model's forward.

    Attributes
    ----------
    names
        Of the samples, in the order in which they are passed on.
    positional
        Arguments passed by position, in their order.
    batch
        Argument that takes a dictionary of samples, or None.
    keys
        Samples in this dictionary.
    """

    names: tuple[str, ...]
    positional: tuple[str, ...]
    batch: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Return True if every sample is passed by position, unchanged."""
        return self.names == self.positional

    def filled(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a call; ``values`` are in the order of ``names``."""
        named = dict(zip(self.names, values, strict=True))
        if self.batch is not None:
            gathered = {key: named.pop(key) for key in self.keys}
            named[self.batch] = gathered
        return [named.pop(name) for name in self.positional], named


@dataclass(frozen=True)
class Signature:
    """The arguments of a model's forward.

    Attributes
    ----------
    needed
        Arguments without a default, in their order.
    optional
        Arguments with a default, in their order.
    by_name
        Those of both that are passed by keyword only.
    any_name
        True if forward also takes ``**kwargs``.
    tensors
        Arguments that are annotated as tensors, so that none of them is a dictionary.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    by_name: frozenset[str] = frozenset()
    any_name: bool = False
    tensors: frozenset[str] = frozenset()

    @staticmethod
    def of(model: nn.Module) -> Signature:
        """Read the arguments of a model's forward."""
        parameters = list(inspect.signature(model.forward).parameters.values())
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not named and any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise UserError("The model's forward takes a variable number of arguments; give it named ones.")
        return Signature(
            tuple(p.name for p in named if p.default is p.empty),
            tuple(p.name for p in named if p.default is not p.empty),
            frozenset(p.name for p in named if p.kind is p.KEYWORD_ONLY),
            any(p.kind is p.VAR_KEYWORD for p in parameters),
            frozenset(p.name for p in named if _is_tensor(p.annotation)),
        )

    @property
    def main(self) -> tuple[str, ...]:
        """The arguments for samples without names: the required ones, or the first one."""
        return self.needed or self.optional[:1]

    @property
    def only(self) -> str | None:
        """The argument for a single sample without a name: the one required argument, or the only one."""
        names = self.needed or self.optional
        return names[0] if len(names) == 1 else None

    def fill(self, given: Sequence[str]) -> Arguments | None:
        """Return the entry of samples of these names into forward; None if one of them is no argument.

        Raises
        ------
        UserError
            If a required argument is missing.
        """
        known = (*self.needed, *self.optional)
        others = tuple(name for name in given if name not in known)
        missing = [name for name in self.needed if name not in given]
        # An argument with a name that no sample has may take one dictionary of them.
        batch = missing[0] if others and len(missing) == 1 and missing[0] not in self.tensors else None
        if batch is None and missing and not others:
            raise UserError(f"lacks held_out.{missing[0]}; a build is checked on held-out samples of every input.")
        if batch is None and (missing or (others and not self.any_name)):
            return None
        filled = [name for name in known if name in given or name == batch]
        positional: list[str] = []
        for name, expected in zip(filled, known, strict=False):
            if name != expected or name in self.by_name:
                break
            positional.append(name)
        names = [key for name in filled for key in (others if name == batch else (name,))]
        if batch is None:
            names += others
        return Arguments(tuple(names), tuple(positional), batch, others if batch is not None else ())


def _is_tensor(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return str(text).rpartition(".")[2] == "Tensor"
