"""What every layer library and every block supplies, and what is known of a layer once it is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ssm2edge.systems.system import System


@dataclass(frozen=True, eq=False)
class FoundLayer:
    """One LTI layer of a user's model.

    Attributes
    ----------
    name
        Dotted path of the module in the model; empty for the model itself.
    library
        Name of the layer library that recognised it.
    kind
        Kind of system, for people: "SISO bank", "MIMO".
    system
        What the layer computes between its inputs and its nonlinearity, float64.
    parameters
        Real trainable parameters of the LTI part, as the user stores them.
    """

    name: str
    library: str
    kind: str
    system: System
    parameters: int


class Block(nn.Module, ABC):
    """What takes the place of a layer's LTI part: small, real, trainable, stable by construction; made from a System alone."""

    @classmethod
    @abstractmethod
    def fits(cls, system: System) -> bool:
        """Whether this kind of block can hold ``system``."""

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


class LayerLibrary(Protocol):
    """One library of layers: recognises its modules, reads their systems, puts reduced blocks in their place."""

    name: str

    def matches(self, module: nn.Module) -> bool:
        """Whether ``module`` is one of this library's layers, by class or structure."""

    def kind(self, module: nn.Module) -> str:
        """Kind of system the layer holds, for people."""

    def read(self, module: nn.Module) -> System:
        """Return the layer's system in paper form, float64."""

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Shape of an input of the layer."""

    def parameters(self, module: nn.Module) -> int:
        """Count the real parameters of the layer's LTI part."""

    def rebuild(self, module: nn.Module, block: nn.Module) -> nn.Module:
        """Return a module that computes what ``module`` does with ``block`` as its LTI part; ``module`` stays as it is."""


class LayerError(Exception):
    """A layer that cannot be read or replaced; the message is one sentence for the user."""


def answer_of(module: nn.Module, u: Tensor) -> object:
    """Return what a layer answers in eval mode, without gradients; it is left in the mode it was in.

    Raises
    ------
    LayerError
        If its forward fails.
    """
    was_training = module.training
    try:
        with torch.no_grad():
            return module.eval()(u)
    except Exception as error:  # the user's own code may raise anything
        first = str(error).strip().partition("\n")[0] or "no message"
        raise LayerError(
            f"its forward fails on an input of shape {tuple(u.shape)} ({type(error).__name__}: {first.rstrip('.')})."
        ) from error
    finally:
        module.train(was_training)
