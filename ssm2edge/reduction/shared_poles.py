"""Second-order minimisation of the summed h2 error of channels that share their poles.

With poles ``generator ^ step_h`` the parameters of ``sections.py`` are shifted and scaled alike in all channels,

    nu_h = nu + log step_h        theta_h = step_h theta

and measured in units of the poles' own widths they move by the same step: gradients and Hessians of the channels add up, and
``newton.py`` minimises over groups of channels what it minimises over channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.newton import Local, Targets, evaluate
from ssm2edge.reduction.sections import Sections


@dataclass(frozen=True, eq=False)
class SharedChannels:
    """Targets of SISO channels in groups.

    Attributes
    ----------
    channels
        ``(channels,)`` targets.
    group
        ``(channels,)`` int64, from zero to ``groups - 1``.
    steps
        ``(channels,)`` float64.
    groups
        Number of groups.
    """

    channels: Targets
    group: Tensor
    steps: Tensor
    groups: int

    @property
    def energy(self) -> Tensor:
        """Energy of each group's channels together."""
        return self.summed(self.channels.energy)

    def summed(self, values: Tensor) -> Tensor:
        """Sum over the channels of each group."""
        return values.new_zeros((self.groups, *values.shape[1:])).index_add(0, self.group, values)

    def __getitem__(self, index: Tensor, /) -> SharedChannels:
        place = torch.full((self.groups,), -1)
        place[index] = torch.arange(len(index))
        kept = torch.nonzero(place[self.group] >= 0)[:, 0]
        return SharedChannels(self.channels[kept], place[self.group[kept]], self.steps[kept], len(index))


def of_channels(shared: Sections, target: SharedChannels) -> Sections:
    """Return each channel's own sections."""
    parameters, paired = shared.parameters[target.group], shared.paired[target.group]
    angle = paired & (torch.arange(parameters.shape[-1]) % 2 == 1)
    steps = target.steps[:, None]
    return Sections(
        torch.where(angle, parameters * steps, parameters + steps.log()), paired, shared.negative[target.group], shared.slowest
    )


def evaluate_shared(target: SharedChannels, shared: Sections) -> Local:
    """Return value, gradient and Hessian of the groups' summed errors, by the scaled parameters of the shared sections."""
    local = evaluate(target.channels, of_channels(shared, target))
    return Local(target.summed(local.value), target.summed(local.gradient), target.summed(local.hessian))
