"""Layers whose recurrence depends on their input: selective and gated ones, recognised by class name or by names of parts.

None of their packages is imported.  ``--lti`` measures such a layer all the same, and shows how far from linear it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Selective:
    """A kind of layer whose recurrence depends on its input.

    Attributes
    ----------
    name
        For people.
    what
        Parameters that follow from the input, as the subject of a sentence.
    mend
        Mend.
    classes
        Names of classes, of the module's own or of one that it inherits from.
    parts
        Sets of names; a module with all names of one set among its own parameters and modules is such a layer.
    """

    name: str
    what: str
    mend: str
    classes: frozenset[str]
    parts: tuple[frozenset[str], ...]

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module is such a layer."""
        return self.by_parts(module) or any(kind.__name__ in self.classes for kind in type(module).__mro__)

    def by_parts(self, module: nn.Module) -> bool:
        """Return whether the module has the parts of such a layer."""
        own = {name for name, x in (*module._parameters.items(), *module._modules.items()) if x is not None}
        return any(parts <= own for parts in self.parts)

    def reason(self, module: nn.Module) -> str:
        """Return the reason and the mend."""
        return f"{self.what} from its input, so that no linear time-invariant system describes it; {self.mend}."


_TRAIN = "train the model with an LTI layer (S4D, S5, LRU) in its place to have it reduced"

SELECTIVE = (
    Selective(
        "Mamba",
        "its step, B and C follow",
        _TRAIN,
        frozenset({"Mamba", "MambaMixer"}),
        (frozenset({"A_log", "x_proj", "dt_proj"}),),
    ),
    Selective(
        "Mamba-2",
        "its step, B and C follow",
        _TRAIN,
        frozenset({"Mamba2", "Mamba2Simple", "Mamba2Mixer"}),
        (frozenset({"A_log", "dt_bias", "in_proj"}),),
    ),
    Selective("S7", "its state matrix follows", _TRAIN, frozenset({"S7", "S7SSM", "S7Layer"}), ()),
    Selective(
        "RG-LRU",
        "its gates, and with them its poles, follow",
        "train the model with an LRU in its place to have it reduced",
        frozenset({"RGLRU", "RG_LRU", "RecurrentGemmaRglru"}),
        (
            frozenset({"a_param", "input_gate", "a_gate"}),
            frozenset({"recurrent_param", "input_gate_weight", "recurrent_gate_weight"}),
        ),
    ),
)
"""Kinds of selective layers."""
