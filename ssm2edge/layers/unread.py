"""Layers that are linear and time-invariant inside, and that no library reads: recognised by class name, with the way to them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Unread:
    """A kind of layer that ``--lti`` reduces.

    Attributes
    ----------
    name
        For people.
    classes
        Names of classes, of the module's own or of one that it inherits from.
    mend
        How to name it.
    """

    name: str
    classes: frozenset[str]
    mend: str

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module is such a layer."""
        return any(kind.__name__ in self.classes for kind in type(module).__mro__)

    def reason(self, module: nn.Module) -> str:
        """Return the reason and the mend."""
        return f"no library of ssm2edge reads it; {self.mend}."


UNREAD = (
    Unread(
        "long convolution of safari",
        frozenset({"LongConv", "H3Conv"}),
        "put its convolution, without what follows it, into a module of its own and name that with --lti",
    ),
    Unread("moving average of mega-pytorch", frozenset({"MultiHeadedEMA"}), "name it with --lti"),
)
"""Kinds of them."""
