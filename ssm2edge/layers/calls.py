"""Observed calls of layers that are systems at one rate, or on one length.

S4 takes ``rate`` as an argument of every call: a factor of its steps, for signals of another sample rate.  A layer that is always
called at one rate is one system, read at that rate.  A kernel that is normalised over the sequence is one system at one length.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import nn

from ssm2edge.layers.contract import LayerError

ARGUMENT = "rate"

ATTRIBUTE, LENGTH = "called_at_rate", "called_on_length"
"""Attributes of a layer that record the rate and the length of its calls."""


def rate_of(module: nn.Module) -> float:
    """Return the rate at which a layer is called, one unless the model was seen to call it at another."""
    return float(getattr(module, ATTRIBUTE, 1.0))


def set_rate(module: nn.Module, rate: float) -> None:
    """Record the rate at which the model calls a layer."""
    setattr(module, ATTRIBUTE, rate)


def fixed_arguments(module: nn.Module) -> Mapping[str, float]:
    """Return the arguments with which a layer is called, where they are not the defaults."""
    return {ARGUMENT: rate_of(module)} if hasattr(module, ATTRIBUTE) else {}


def takes_rate(module: nn.Module) -> bool:
    """Return whether a layer's forward has such an argument."""
    return ARGUMENT in inspect.signature(module.forward).parameters


def common_rate(path: str, module: nn.Module, calls: Sequence[Mapping[int | str, object]]) -> float:
    """Return the rate of all observed calls of a layer.

    Parameters
    ----------
    path
        Name for the sentence.
    module
        The layer.
    calls
        Arguments by position or name.

    Raises
    ------
    LayerError
        If they differ.
    """
    parameters = list(inspect.signature(module.forward).parameters)
    default = inspect.signature(module.forward).parameters[ARGUMENT].default
    given = {call.get(ARGUMENT, call.get(parameters.index(ARGUMENT), default)) for call in calls}
    rates = {float(rate) for rate in given if isinstance(rate, int | float)}
    if len(rates) > 1:
        raise LayerError(
            f"Layer {path or '(the model)'} is called at several rates ({', '.join(f'{rate:g}' for rate in sorted(rates))}), and "
            "is another system at each; give every rate a layer of its own."
        )
    return next(iter(rates), 1.0)


def set_length(module: nn.Module, length: int) -> None:
    """Record the length of the sequences on which the model calls a layer that stores none."""
    setattr(module, LENGTH, length)


def stored_length(module: nn.Module, *names: str) -> int | None:
    """Return the longest length that a layer stores itself, in the first of these attributes; None for all lengths."""
    longest = next((getattr(module, name) for name in names if hasattr(module, name)), None)
    return longest if isinstance(longest, int) and longest > 0 else None


def longest_of(module: nn.Module, *names: str) -> int | None:
    """Return the samples that a layer takes at its rate: what was recorded, or its own attribute, the first of these names."""
    recorded = getattr(module, LENGTH, None)
    if recorded is not None:
        return int(recorded)
    longest = stored_length(module, *names)
    return None if longest is None else round(longest / rate_of(module))
