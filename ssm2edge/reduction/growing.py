"""Poles one section after the other, for channels whose modes cancel.

From no pole at all a section is added at a time: the atoms that would capture most are tried, and with each all poles are refined
by Newton's method on the taps of the response.  What is minimised counts the rounding of a float32 recurrence, WEIGHT times
(``device.py``), so that poles which only cancel gain nothing.  The way to an order does not depend on the order that was asked
for, and each step keeps the better of what was and what is new: more states never do worse.  Poles of another method are a start
at their order, so that it never does better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.atoms import Atoms, atoms_of, captured
from ssm2edge.reduction.newton import Minimum, minimise
from ssm2edge.reduction.search import better_of, ranked
from ssm2edge.reduction.sections import Sections
from ssm2edge.reduction.shared_poles import SharedChannels, evaluate_shared, of_channels

Rival = Callable[[int], Sections]
"""Poles of another method by order, ``(groups, order)``."""

TRIED = 2
"""Atoms that are tried at each order."""
FIRST_STEPS, STEPS = 4, 10
"""Newton steps of each, and of the best of them."""
APART = 2.0
"""Distance of atoms that are tried, in widths of their resonances."""


@dataclass(frozen=True, eq=False)
class Growth:
    """The path of one bank's groups through the orders.

    Attributes
    ----------
    target
        Groups of channels, on a finite horizon.
    atoms
        The dictionary.
    rival
        Starts by order.
    """

    target: SharedChannels
    atoms: Atoms
    rival: Rival

    def reach(self, order: int) -> Minimum:
        """Grow to an order."""
        groups = self.target.groups
        nothing = Sections(
            torch.zeros((groups, 0), dtype=torch.float64),
            torch.zeros((groups, 0), dtype=torch.bool),
            torch.zeros((groups, 0), dtype=torch.bool),
            self.atoms.slowest,
        )
        whole = torch.zeros(groups, dtype=torch.int64)
        best = Minimum(nothing, self.target.energy, whole, whole.bool())
        for states in range(2, order + 2, 2):
            both, first = self.gains(best.sections)
            odd = self.odd(best, first)
            if states > order:
                return odd
            best = self.even(best, odd, both)
        return best

    def gains(self, present: Sections) -> tuple[Tensor, Tensor]:
        """Return what each atom would capture, ``(groups, count)``: the whole atom, and its first sequence alone."""
        target = self.target
        every = self.atoms.sections(torch.arange(len(self.atoms.parameters)))
        alike = _each(every, lambda x: x.flatten().expand(target.groups, -1))
        both, first = captured(target.channels, of_channels(present, target), of_channels(alike, target))
        return target.summed(both), target.summed(first)

    def odd(self, best: Minimum, gains: Tensor) -> Minimum:
        """Add a real pole."""
        atom = gains.masked_fill(self.atoms.paired, -1.0).argmax(-1)
        start = _joined(best.sections, _each(self.atoms.sections(atom), lambda x: x[:, :1]))
        return self.refined(best, start, FIRST_STEPS, self.rival(start.parameters.shape[-1]))

    def even(self, best: Minimum, odd: Minimum, gains: Tensor) -> Minimum:
        """Add a section to ``best``, or a real pole to ``odd``, which has one more already."""
        starts, places = [], self.atoms.places()
        for _ in range(TRIED):
            atom = gains.argmax(-1)
            starts.append(_joined(best.sections, self.atoms.sections(atom)))
            near = (places - places[atom][:, None]).abs() < APART * (1 - places.abs())
            gains = gains.masked_fill(near, -1.0)
        ends = [minimise(self.target, start, FIRST_STEPS, evaluate=evaluate_shared) for start in starts]
        # The second of two real poles may be spare.
        spare = self.atoms.parameters[:, 1].max().expand(self.target.groups, 1)
        none = torch.zeros_like(spare, dtype=torch.bool)
        ends.append(minimise(self.target, _joined(odd.sections, Sections(spare, none, none, 0.0)), 0, evaluate=evaluate_shared))
        chosen = ranked(ends, 1)[0]
        return self.refined(best, chosen.sections, STEPS, self.rival(chosen.sections.parameters.shape[-1]))

    def refined(self, before: Minimum, start: Sections, steps: int, rival: Sections) -> Minimum:
        """Refine a start, and the rival where it is better as it stands."""
        end = minimise(self.target, start, steps, evaluate=evaluate_shared)
        where = torch.nonzero(evaluate_shared(self.target, rival).value < end.value)[:, 0]
        if len(where):
            end = better_of(end, minimise(self.target[where], rival[where], steps, evaluate=evaluate_shared), where)
        return Minimum(end.sections, end.value, before.iterations + end.iterations, end.converged)


def grown(target: SharedChannels, order: int, slowest: float, rival: Rival) -> Minimum:
    """Return the poles of each group at an order.

    Parameters
    ----------
    target
        With :class:`~ssm2edge.reduction.taps.TapTargets` as channels.
    slowest
        Decay that no pole goes below.
    """
    horizon = target.channels.horizon
    assert horizon is not None
    atoms = atoms_of(slowest, horizon, float(target.steps.max()))
    return Growth(target, atoms, rival).reach(order)


def _each(sections: Sections, function: Callable[[Tensor], Tensor]) -> Sections:
    """Return the sections with a function of each tensor in its place."""
    return Sections(function(sections.parameters), function(sections.paired), function(sections.negative), sections.slowest)


def _joined(one: Sections, other: Sections) -> Sections:
    parameters = torch.cat((one.parameters, other.parameters), -1)
    paired, negative = torch.cat((one.paired, other.paired), -1), torch.cat((one.negative, other.negative), -1)
    return Sections(parameters, paired, negative, one.slowest)
