"""Tied banks: channels whose poles follow from shared ones, as S4 with few state matrices and layers of several heads store them.

Reduced channel by channel, every channel gets poles of its own, and a layer may need more numbers for fewer states.  Here shared
poles stay shared.  Channels of equal poles are one system with one input at a time and an output row for each channel,

    K_h[k] = C_h A^(k-1) B        sum_h |K_h - Khat_h|^2 = |G - Ghat|^2,   G = (A, B, [C_1; ...; C_H], D),

which any method reduces; channels with steps of their own are taken at their mean step for that, and their residues fitted at
their own steps.  ``gradient`` goes on from there, and from picks of the shared modes, by ``shared_poles.py``.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.device import RIDGE, calm_outputs, cancels, with_limits
from ssm2edge.reduction.growing import grown
from ssm2edge.reduction.modal import keep_modes
from ssm2edge.reduction.newton import Minimum, channels_of, minimise
from ssm2edge.reduction.projection import refit_channels
from ssm2edge.reduction.search import LONG, SHORT, ranked
from ssm2edge.reduction.sections import Sections, sections_of, slowest_decay
from ssm2edge.reduction.shared_poles import SharedChannels, evaluate_shared, of_channels
from ssm2edge.reduction.taps import taps_of
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.tie import Tie, follow, pairs_upright

START = "balanced"
"""Method whose poles at the mean step are among the starts of ``gradient``."""
POLISHED = 2
"""Starts that are refined to the end."""


def shares_poles(system: System, order: int) -> bool:
    """Return whether a bank keeps its shared poles: a pole of its own for every residue would be more numbers than it has.

    Residues and feedthroughs alone are compared: the rest may be shared with another bank, too.
    """
    return system.tie is not None and 2 * order > system.order


def reduce_tied(bank: System, order: int, method: str = "gradient", horizon: int | None = None) -> Reduction:
    """Reduce a tied bank to a tied bank; the sum of the channels' squared errors is what is made small.

    Parameters
    ----------
    bank
        With a tie.
    order, method, horizon
        As in :func:`ssm2edge.reduction.reduce_system`.

    Returns
    -------
    Reduction
        Of the bank; errors by channel, outcome and iterations alike for the channels of a group.

    Raises
    ------
    ValueError
        If the bank has no tie, or as in :func:`ssm2edge.reduction.reduce_system`.
    """
    tie = bank.tie
    if tie is None:
        raise ValueError("the channels of this bank have poles of their own; only a bank with shared poles stays tied.")
    if order == bank.order and not cancels(bank).any():
        return summarise(bank, bank, method, horizon, Outcome.IDENTITY)
    with torch.no_grad():
        return _Shared(bank, tie, horizon).reduce(order, method)


class _Shared:
    """A tied bank whose steps are counted from the smallest: no angle of a shared pole then exceeds half a turn."""

    def __init__(self, bank: System, tie: Tie, horizon: int | None) -> None:
        self.bank, self.tie, self.horizon = bank, tie, horizon
        self.unit = torch.full_like(tie.steps, torch.inf).scatter_reduce(0, tie.group, tie.steps, "amin")[: len(tie.generator)]
        self.steps = tie.steps / self.unit[tie.group]
        channels = channels_of(bank, horizon)
        self.target = SharedChannels(channels, tie.group, self.steps, len(tie.generator))
        self.slowest = slowest_decay(bank.poles, horizon)

    def reduce(self, order: int, method: str) -> Reduction:
        """Reduce to shared poles of the given order."""
        if order == self.bank.order or (method == "gradient" and cancels(self.bank).any()):
            return self._grown(order, method)
        if method != "gradient":
            joint = self._at_mean_step(order, method)
            return self._reduction(joint.system.poles, method, joint.outcomes, joint.iterations)
        sections = [sections_of(poles, self.slowest) for poles in self._starts(order)]
        tried = ranked([minimise(self.target, start, SHORT, evaluate=evaluate_shared) for start in sections], POLISHED)
        ended = [minimise(self.target, minimum.sections, LONG, evaluate=evaluate_shared) for minimum in tried]
        best: Minimum = ranked(ended, 1)[0]
        outcome = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
        return self._reduction(best.sections.poles(), method, outcome, best.iterations)

    def _grown(self, order: int, method: str) -> Reduction:
        """Grow shared poles: float32 could not hold what the search would find."""
        target = replace(self.target, channels=taps_of(self.bank, self.horizon, RIDGE))

        def rival(states: int) -> Sections:
            own = states == self.bank.order
            poles = self._shared_poles() if own else self._at_mean_step(states, START).system.poles
            return sections_of(poles, self.slowest)

        end = grown(target, order, self.slowest, rival)
        ended = torch.where(end.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
        own = order == self.bank.order
        outcome = torch.full_like(ended, int(Outcome.REPAIRED)) if own else ended
        result = self._reduction(end.sections.poles(), method, outcome, end.iterations)
        return result if own else with_limits(result, cancels(self.bank))

    def _shared_poles(self) -> Tensor:
        """Return the original's poles at the smallest step of each group."""
        poles = follow(self.tie.generator, self.unit[:, None], self.tie.rule)
        return pairs_upright(poles, poles)[0]

    def _starts(self, order: int) -> list[Tensor]:
        own = self._shared_poles()
        residues, poles = self.bank.residues.abs().square(), self.bank.poles.abs()
        scores = [
            residues / (1 - poles.square()).clamp_min(1e-12),
            residues / (1 - poles).clamp_min(1e-12).square(),
            1 / (1 - poles).clamp_min(1e-12) + 0 * residues,
        ]
        modes = siso_bank(own, torch.ones_like(own), own.new_zeros(len(own), dtype=torch.float64))
        picks = [keep_modes(modes, self.target.summed(score), order)[0].poles for score in scores]
        return [self._at_mean_step(order, START).system.poles, *picks]

    def _at_mean_step(self, order: int, method: str) -> Reduction:
        """Reduce each group as one system at the geometric mean of its steps; its poles are returned for the smallest step."""
        counts = self.target.summed(torch.ones_like(self.steps))
        mean = (self.target.summed(self.steps.log()) / counts).exp()
        turned = (self.tie.poles().imag * self.bank.poles.imag) < 0
        oriented = torch.where(turned, self.bank.residues.conj(), self.bank.residues)
        poles = follow(self.tie.generator, (mean * self.unit)[:, None], self.tie.rule)
        # Outputs of each group in a row; shorter groups get silent ones.
        members = [torch.nonzero(self.tie.group == group)[:, 0] for group in range(self.target.groups)]
        widest = max(map(len, members))
        C = oriented.new_zeros((self.target.groups, widest, self.bank.order))
        D = self.bank.D.new_zeros((self.target.groups, widest, 1))
        for group, channels in enumerate(members):
            C[group, : len(channels)], D[group, : len(channels)] = oriented[channels], self.bank.D[channels, 0]
        poles, C = pairs_upright(poles[:, None].expand_as(C), C)
        joint = System(poles[:, 0], torch.ones_like(poles[:, 0])[..., None], C, D)
        reduction = reduce_system(joint, order, method, self.horizon)
        generator = follow(reduction.system.poles, (1 / mean)[:, None], "power")
        return replace(reduction, system=replace(reduction.system, poles=generator))

    def _reduction(self, generator: Tensor, method: str, outcomes: Tensor, iterations: Tensor) -> Reduction:
        own = of_channels(sections_of(generator, self.slowest), self.target)
        fit = calm_outputs if cancels(self.bank).any() else refit_channels
        fitted = fit(self.bank, own.poles(), self.horizon)
        poles, residues = pairs_upright(fitted.poles, fitted.residues)
        tie = Tie(sections_of(generator, self.slowest).poles(), self.tie.group, self.steps)
        reduced = replace(siso_bank(poles, residues, self.bank.D[..., 0, 0]), tie=tie)
        group = self.tie.group
        return summarise(self.bank, reduced, method, self.horizon, outcomes[group], iterations[group])
