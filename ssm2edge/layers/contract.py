"""The contracts of layer libraries and blocks, and the values that describe layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.layers.held import Held, HeldBlock
from ssm2edge.systems.system import System

ONLY = ""
"""Name of the only part of an ordinary layer; a bidirectional one has the parts of ``DIRECTIONS``."""

DIRECTIONS = ("causal", "anticausal")
"""Parts of a bidirectional layer: the second runs from the end of the sequence to its start."""


class Wrapper(nn.Module, ABC):
    """A module that calls a user's model, whose modules it shows as its own."""

    @abstractmethod
    def around(self, model: nn.Module) -> nn.Module:
        """Return another model, called in the same way."""


def around(model: nn.Module, part: nn.Module) -> nn.Module:
    """Return the module in the place of a whole model: a part of it, called as the model is."""
    return model.around(part) if isinstance(model, Wrapper) else part


@dataclass(frozen=True)
class Realised:
    """Realisation of a system from an impulse response.

    Attributes
    ----------
    taps
        Length of the response.
    error
        Energy of the difference over all taps and channels, relative to the response's own; its root.
    repaired
        Channels (or systems) whose plain realisation had poles on or outside the unit circle.
    """

    taps: int
    error: float
    repaired: int


@dataclass(frozen=True, eq=False)
class FoundLayer:
    """One LTI system of a user's model: a layer, or a part of a layer that holds several.

    Attributes
    ----------
    name
        Dotted path of the module in the model, with the part's name behind it; empty for the model itself.
    library
        Name of the layer library that recognised it.
    kind
        Kind of system, for people: "SISO bank", "MIMO".
    system
        The system between its inputs and its nonlinearity, float64.
    parameters
        Real numbers that the system is stored in, as the user stores them; what parts or layers share counts at the first one.
    frozen
        Buffers among them, which a count of the model's parameters leaves out.
    lengths
        Lengths of sequences on which the layer is this system; None for all.
    realised
        Record of the realisation from an impulse response; None if the system was read.
    module
        Path of the layer, without the part.
    """

    name: str
    library: str
    kind: str
    system: System
    parameters: int
    frozen: int = 0
    lengths: range | None = None
    realised: Realised | None = None
    module: str = ""

    def with_realisation(self, error: float, norm: float) -> float:
        """Return the h2 error of a reduction against the layer itself: with that of the realisation.

        The outputs of a realisation are fitted by least squares, so that its error is orthogonal to what its modes can answer.

        Parameters
        ----------
        error
            Against ``system``.
        norm
            Of ``system``.
        """
        return error if self.realised is None else math.hypot(error, self.realised.error * norm)


@dataclass(frozen=True)
class RefusedLayer:
    """One layer of a user's model that no system describes: its path, what it is, and one sentence with reason and mend."""

    name: str
    library: str
    reason: str


@dataclass(frozen=True)
class Origin:
    """The reduction that a block's system came from.

    Attributes
    ----------
    order_before
        Real states of the system that was reduced.
    h2_error
        Error of the block as it was made: h2 norm of the difference over the whole layer, relative to the original's norm.
    outcome
        End of the reduction, for people: ``converged``, or ``60 converged, 4 repaired`` if channels differ.
    method
        Name of the reduction method.
    weights
        Digest of the original layer's parameters; empty for a layer that was measured on samples.
    """

    order_before: int
    h2_error: float
    outcome: str
    method: str
    weights: str = ""


Use = tuple[int, torch.dtype]
"""Time steps and precision of a block's input."""


class Block(nn.Module, ABC):
    """Takes the place of a layer's LTI part: small, real, trainable, stable by construction; made from a System alone."""

    origin: Origin | None = None
    """The reduction that the block came from, where :func:`ssm2edge.layers.describe_blocks` recorded it."""

    time_last: ClassVar[bool] = False
    """True if time is the last axis of inputs and outputs; features are otherwise."""

    dynamics: nn.Parameter
    """Parameters of the poles."""

    @classmethod
    @abstractmethod
    def fits(cls, system: System) -> bool:
        """Return whether this kind of block can hold ``system``."""

    @classmethod
    def standing_for(cls, system: System) -> Self:
        """Return the block of an original's own system, which must not be worse than the original."""
        return cls(system)

    @property
    @abstractmethod
    def order(self) -> int:
        """Real states of each of its systems."""

    @abstractmethod
    def system(self) -> System:
        """Return what the block computes now, float64, detached, on the CPU."""

    @abstractmethod
    def exported(self) -> nn.Module:
        """Return the block as constants and one operator: what ``torch.export`` sees."""

    def constant(self) -> nn.Module:
        """Return a module that computes the same as the block while that does not change."""
        return self

    def held(self, uses: Collection[Use]) -> Held:
        """Return a stand-in for many runs between changes of the parameters, on inputs of the given lengths and precisions."""
        return HeldBlock(self)

    def share(self, other: Block) -> None:
        """Use the parameters of another part's block in place of equal ones."""

    def extra_repr(self) -> str:
        """Return the block's order and origin, for ``print``."""
        if self.origin is None:
            return f"order={self.order}"
        origin = self.origin
        return f"order={self.order} of {origin.order_before}, relative h2 error={origin.h2_error:.1e}, {origin.outcome}"


class LayerLibrary(Protocol):
    """One library of layers: recognises its modules, reads their systems, puts reduced blocks in their place."""

    name: str

    def matches(self, module: nn.Module) -> bool:
        """Return whether ``module`` is one of this library's layers, by class or structure."""

    def kind(self, module: nn.Module) -> str:
        """Return the kind of system that the layer holds, for people."""

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the layer's systems, float64, by part: ``ONLY`` in an ordinary layer.

        They are in paper form, or read the state after the sample as :func:`ssm2edge.systems.system.reading_after` decides.

        A part that runs backwards in time is returned as the causal system of the reversed sequence.

        Raises
        ------
        LayerError
            If the layer is the library's but no system describes it: the reason, and how to mend it.
        """

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of an input of the layer."""

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the parameters and buffers that each part is stored in; what parts share may be listed in each."""

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Return a module that computes what ``module`` does with one block per part as its LTI part; ``module`` stays as it is.

        The part ``ONLY`` stands in the attribute ``block``, another one in a :class:`~ssm2edge.layers.replacement.Part` of its
        name; :class:`~ssm2edge.layers.replacement.Replacement` sees to it.
        """


@runtime_checkable
class BoundLength(Protocol):
    """Method of libraries whose layers are one system only on sequences of some lengths."""

    def lengths(self, module: nn.Module) -> range | None:
        """Return the lengths on which ``module`` is what ``read`` returns; None for all."""


@runtime_checkable
class LengthFromSamples(Protocol):
    """Method of libraries whose kernels depend on a length that layers need not store."""

    def fix_length(self, module: nn.Module, length: int) -> None:
        """Set the length of ``module`` to ``length`` samples if it stores none; its outputs on so many stay."""


@runtime_checkable
class RateFromCalls(Protocol):
    """Method of libraries whose layers take a rate, a factor of their steps, with every call."""

    def fix_rate(self, module: nn.Module, rate: float) -> None:
        """Record the rate at which the model calls ``module``."""


class Refusal(Protocol):
    """One kind of layer that is known and not linear and time-invariant: named, and left as it is."""

    @property
    def name(self) -> str:
        """Name of the kind, for people."""

    def matches(self, module: nn.Module) -> bool:
        """Return whether ``module`` is such a layer, by class or structure; refusals come before libraries."""

    def reason(self, module: nn.Module) -> str:
        """Return the reason and the mend, as one sentence that follows a colon and ends with a full stop."""


class LayerError(UserError):
    """A layer that cannot be read, replaced or called as it is; the message is one sentence for the user."""


def path_of(layer: str, part: str) -> str:
    """Return the name of a part of a layer: the layer's own for the only part."""
    return ".".join(name for name in (layer, part) if name)
