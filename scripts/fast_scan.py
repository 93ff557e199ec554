"""A linear recurrent unit as training computes it: equal to its own forward up to rounding, and several times faster on a CPU.

The states ``x[k] = p x[k - 1] + d[k]`` are computed in chunks, as products with triangular matrices of powers of the poles, and
carried from chunk to chunk; the gradient is the same recurrence run backwards.  Training uses this, nothing else does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.systems.system import System

CHUNK = 16


def recurrence(poles: Tensor, drive: Tensor) -> Tensor:
    """Return the states ``(modes, batch, time)`` of a drive of that shape, whose time is a multiple of the chunk."""
    modes, batch, time = drive.shape
    steps = torch.arange(CHUNK, device=poles.device)
    lags = steps[None, :] - steps[:, None]
    powers = poles[:, None] ** torch.arange(CHUNK + 1, device=poles.device)
    triangle = powers[:, lags.clamp(min=0)] * (lags >= 0)
    inside = (drive.reshape(modes, -1, CHUNK) @ triangle).reshape(modes, batch, -1, CHUNK)
    ends, power, step = inside[..., -1], powers[:, -1, None, None], 1
    while step < ends.shape[-1]:
        ends = torch.cat((ends[..., :step], ends[..., step:] + power * ends[..., :-step]), dim=-1)
        power, step = power * power, 2 * step
    carried = nn.functional.pad(torch.view_as_real(ends[..., :-1]), (0, 0, 1, 0))
    inside += torch.view_as_complex(carried)[..., None] * powers[:, None, None, 1:]
    return inside.reshape(modes, batch, time)


class Recurrence(torch.autograd.Function):
    """The recurrence and its gradient."""

    @staticmethod
    def forward(ctx: Any, poles: Tensor, drive: Tensor) -> Tensor:
        states = recurrence(poles, drive)
        ctx.save_for_backward(poles, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        poles, states = ctx.saved_tensors
        back = recurrence(poles.conj().resolve_conj(), gradients[0].flip(-1)).flip(-1)
        to_poles = (back[..., 1:] * states[..., :-1].conj()).sum((1, 2))
        return to_poles, back


def lru_forward(unit: Any, u: Tensor) -> Tensor:
    """Return the answer of a linear recurrent unit, ``(batch, time, width) -> (batch, time, width)``.

    The products with B, C and D may be of bfloat16, where autocast is on; the states are not.
    """
    batch, time, width = u.shape
    poles = torch.exp(torch.complex(-torch.exp(unit.nu_log), torch.exp(unit.theta_log)))
    B = torch.exp(unit.gamma_log).unsqueeze(-1) * unit.B
    inputs = nn.functional.pad(u, (0, 0, 0, -time % CHUNK)).reshape(-1, width).T
    parts = (torch.cat((B.real, B.imag)) @ inputs).float()
    drive = torch.complex(parts[: len(B)], parts[len(B) :]).reshape(len(B), batch, -1)
    states = Recurrence.apply(poles, drive).reshape(len(B), -1)  # type: ignore[no-untyped-call]
    flat = torch.cat((states.real, states.imag))
    answers: Tensor = (torch.cat((unit.C.real, -unit.C.imag), dim=1) @ flat).T.reshape(batch, -1, width)[:, :time]
    answers = answers + u @ unit.D.T
    return answers


def system_forward(system: System, u: Tensor) -> Tensor:
    """Return the answer of one system of many inputs, ``(batch, time, inputs) -> (batch, time, outputs)``."""
    batch, time, width = u.shape
    # Of a pair one member is enough: the other is its conjugate.
    kept = system.poles.imag >= 0
    weights = torch.where(system.poles.imag > 0, 2.0, 1.0)[kept]
    poles, B = system.poles[kept].to(torch.complex64), system.B[kept].to(torch.complex64)
    C = system.C[:, kept].to(torch.complex64) * weights
    # The state is read after the sample, or before it: one sample of delay.
    delayed = u if system.after_sample else nn.functional.pad(u, (0, 0, 1, -1))
    inputs = nn.functional.pad(delayed, (0, 0, 0, -time % CHUNK)).reshape(-1, width).T
    drive = torch.complex(B.real @ inputs, B.imag @ inputs).reshape(len(B), batch, -1)
    states = recurrence(poles, drive).reshape(len(B), -1)
    answers = (C.real @ states.real - C.imag @ states.imag).T.reshape(batch, -1, len(C))[:, :time]
    return answers + u @ system.D.float().T
