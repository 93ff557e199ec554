"""The block that takes the place of a bank whose channels share their poles: they are stored and trained once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.contract import Block
from ssm2edge.layers.dynamics import as_held, initial_dynamics, section_coefficients
from ssm2edge.systems.real_form import RealSections, from_real_sections, to_real_sections
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.tie import Tie


class TiedBank(ReducedBank):
    """A :class:`~ssm2edge.layers.block.ReducedBank` with one set of poles for each group of channels and a step for each channel.

    Parameters
    ----------
    system
        SISO bank with a tie, stable.
    precision
        As there.

    Notes
    -----
    With G groups and H channels of order r there are G r + H (r + 1) parameters, and H more where steps differ.
    """

    group: Tensor

    def __init__(self, system: System, precision: torch.dtype = torch.float32, outside: bool = False) -> None:
        nn.Module.__init__(self)
        if not self.fits(system):
            raise ValueError("this block holds banks of SISO channels whose poles follow from shared ones.")
        tie = system.tie
        assert tie is not None
        paired = tie.generator.imag != 0
        dynamics, signs = initial_dynamics(tie.generator, paired, outside)
        poles = tie.poles()
        # Sections turn the way their generator's do, whichever member of the pair the system names first.
        turned = (poles.imag * system.poles.imag) < 0
        residues = torch.where(turned, system.residues.conj(), system.residues)
        output = to_real_sections(siso_bank(poles, residues, system.D[..., 0, 0])).c
        self.dynamics = nn.Parameter(dynamics.to(precision))
        self.log_steps = None if tie.stepless else nn.Parameter(tie.steps.log().to(precision))
        self.output = nn.Parameter(output.to(precision))
        self.set_feedthrough(system.D[..., 0, 0].to(precision))
        self.rule = tie.rule
        self.register_buffer("group", tie.group)
        self.register_buffer("paired", paired[tie.group])
        self.register_buffer("signs", signs[tie.group].to(precision))

    def share(self, other: Block) -> None:
        """Use another bank's poles and steps in place of equal ones, as two directions of a layer do."""
        if not isinstance(other, TiedBank) or self.rule != other.rule:
            return
        mine, theirs = ([x for x in (bank.group, bank.dynamics, bank.log_steps) if x is not None] for bank in (self, other))
        if len(mine) == len(theirs) and all(map(torch.equal, mine, theirs)):
            self.dynamics, self.log_steps = other.dynamics, other.log_steps

    @classmethod
    def fits(cls, system: System) -> bool:
        """Return whether the system is a bank of linear SISO channels with a tie."""
        return system.tie is not None and super().fits(system)

    def sections(self) -> RealSections:
        """Return the bank in unit-input real form, float64, differentiable, with the poles that a float32 device has."""
        dynamics = self.dynamics[self.group].double()
        if self.log_steps is None:
            a, b = section_coefficients(self.dynamics[self.group], self.paired, self.signs)
        elif self.rule == "power":
            odd = torch.arange(dynamics.shape[-1], device=dynamics.device) % 2 == 1
            angle = self.paired & odd
            log_steps = self.log_steps.double()[:, None]
            dynamics = torch.where(angle, dynamics * log_steps.exp(), dynamics + log_steps)
            a, b = section_coefficients(dynamics, self.paired, self.signs)
        else:
            a, b = section_coefficients(dynamics, self.paired, self.signs)
            z = (torch.complex(a, -b) - 1) / (torch.complex(a, -b) + 1) * self.log_steps.double().exp()[:, None]
            poles = (1 + z) / (1 - z)
            a, b = poles.real, torch.where(self.paired, -poles.imag, torch.zeros_like(b))
        a, b = as_held(a, self.dynamics), as_held(b, self.dynamics)
        return RealSections(a=a, b=b, c=self.output.double(), d=self.feedthrough.double())

    def system(self) -> System:
        """Return the bank as a System (float64, detached, on the CPU) that says what its channels share."""
        first = torch.tensor([int((self.group == group).nonzero()[0]) for group in range(len(self.dynamics))])
        dynamics = self.dynamics.detach().cpu().double()
        a, b = section_coefficients(dynamics, self.paired.cpu()[first], self.signs.cpu().double()[first])
        generator = from_real_sections(RealSections(a, b, torch.ones_like(a), torch.zeros(len(a), dtype=a.dtype))).poles
        group = self.group.cpu()
        steps = (
            torch.ones(len(group), dtype=torch.float64)
            if self.log_steps is None
            else self.log_steps.detach().cpu().double().exp()
        )
        return replace(super().system(), tie=Tie(generator, group, steps, self.rule))
