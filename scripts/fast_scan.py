"""A linear recurrent unit as training computes it: equal to its own forward up to rounding, and several times faster on a CPU.

The states ``x[k] = p x[k - 1] + d[k]`` are computed in chunks, as products with triangular matrices of powers of the poles, and
carried from chunk to chunk; the gradient is the same recurrence run backwards.  Training uses this, nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.systems.mimo_form import to_mimo_sections
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
    answers: Tensor = system_answers(system)(u.permute(2, 0, 1)).permute(1, 2, 0)
    return answers


def system_answers(system: System) -> Callable[[Tensor], Tensor]:
    """Return the function of one system of many inputs, quadratic outputs included, whose weights no longer change.

    It maps ``(inputs, batch, time)`` to ``(outputs, batch, time)``.
    """
    form = _ComplexForm(system)

    def answers(u: Tensor) -> Tensor:
        _, batch, time = u.shape
        states = recurrence(form.poles, form.drive(form.into @ nn.functional.pad(u, (0, -time % CHUNK)).flatten(1), batch))
        flat = torch.cat((states.real, states.imag)).flatten(1)

        def read(rows: Tensor, delayed: bool) -> Tensor:
            seen = (rows @ flat).reshape(len(rows), batch, -1)
            # The state is read after the sample, or before it: one sample of delay.
            return nn.functional.pad(seen, (1, 0))[..., :time] if delayed else seen[..., :time]

        y = form.with_feedthrough(read(form.output, not system.after_sample), u)
        if form.factors is not None and form.mixing is not None and len(form.factors):
            squares = read(form.factors, delayed=True).square()
            y += (form.mixing @ squares.flatten(1)).reshape(y.shape)
        return y

    return answers


def bidirectional_answers(past: System, future: System) -> Callable[[Tensor], Tensor]:
    """Return the function of two systems, the second of which runs from the end; shapes as in :func:`system_answers`."""
    if not (past.after_sample and future.after_sample) or past.M is not None or future.M is not None:
        first, second = system_answers(past), system_answers(future)
        return lambda u: first(u) + second(u.flip(-1)).flip(-1)
    # The states of both are one product, one recurrence and one product.
    one, two = _ComplexForm(past), _ComplexForm(future)
    into, poles = torch.cat((one.into, two.into)), torch.cat((one.poles, two.poles))
    modes = len(one.poles)
    halves = [torch.chunk(form.output, 2, dim=1) for form in (one, two)]
    output = torch.cat([half[part] for part in (0, 1) for half in halves], dim=1)

    def answers(u: Tensor) -> Tensor:
        _, batch, time = u.shape
        parts = into @ nn.functional.pad(u, (0, -time % CHUNK)).flatten(1)
        drives = one.drive(parts[: 2 * modes], batch), two.drive(parts[2 * modes :], batch).flip(-1)
        states = recurrence(poles, torch.cat(drives))
        both = torch.cat((states[:modes], states[modes:].flip(-1)))
        y = (output @ torch.cat((both.real, both.imag)).flatten(1)).reshape(len(output), batch, -1)[..., :time]
        return two.with_feedthrough(one.with_feedthrough(y, u), u)

    return answers


class _ComplexForm:
    """A system in float32 with one complex state for each pair of poles, and one with no imaginary part for each real pole."""

    def __init__(self, system: System) -> None:
        sections = to_mimo_sections(system)
        paired = sections.b != 0
        first = (~paired | (torch.arange(len(paired)) % 2 == 0)).nonzero()[:, 0]
        second, single = torch.clamp(first + 1, max=len(paired) - 1), ~paired[first]

        def reading(rows: Tensor) -> Tensor:
            return torch.cat((rows[:, first], rows[:, second].masked_fill(single, 0)), dim=1).float()

        self.poles = torch.complex(sections.a[first], -sections.b[first]).to(torch.complex64)
        self.into = torch.cat((sections.input[first], sections.input[second].masked_fill(single[:, None], 0))).float()
        self.output = reading(sections.output)
        self.factors = None if sections.factors is None else reading(sections.factors)
        self.mixing = None if sections.mixing is None else sections.mixing.float()
        self._D = D = system.D.float()
        # Most feedthroughs are of each channel to itself, and those of the anticausal direction are zero.
        own = D.shape[0] == D.shape[1] and not (D - D.diagonal().diag()).any()
        self._diagonal = D.diagonal()[:, None, None] if own else None

    def drive(self, parts: Tensor, batch: int) -> Tensor:
        """Return the drive of the states of ``into @ u``, ``(modes, batch, time)``."""
        modes = len(self.poles)
        return torch.complex(parts[:modes], parts[modes:]).reshape(modes, batch, -1)

    def with_feedthrough(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``y + D u``."""
        if self._diagonal is None:
            return y + (self._D @ u.flatten(1)).reshape(y.shape)
        return torch.addcmul(y, self._diagonal, u) if self._D.any() else y


def s5_forward(layer: Any, u: Tensor) -> Tensor:
    """Return the answer of an S5 layer in both directions, ``(batch, time, channels) -> (batch, time, channels)``."""
    poles, B = layer.discrete()
    drive = _drive(B, u)
    both = torch.cat((drive, drive.flip(-1)), dim=1)
    past, future = Recurrence.apply(poles, both).split(len(u), dim=1)  # type: ignore[no-untyped-call]
    C = 2 * torch.view_as_complex(torch.cat((layer.C1, layer.C2), dim=1))
    states = torch.cat((past, future.flip(-1))).flatten(1)
    answers: Tensor = _read(C, states, u) + layer.D * u
    return answers


def quadratic_forward(unit: Any, u: Tensor) -> Tensor:
    """Return the answer of a linear recurrent unit with quadratic outputs, ``(batch, time, width)`` for that."""
    poles = torch.exp(torch.complex(-torch.exp(unit.nu_log), torch.exp(unit.theta_log)))
    states = Recurrence.apply(poles, _drive(torch.exp(unit.gamma_log).unsqueeze(-1) * unit.B, u))  # type: ignore[no-untyped-call]
    linear = _read(unit.C, states.flatten(1), u)
    # Squares are of the states before the sample.
    after = unit.V @ torch.cat((states.real, states.imag)).flatten(1)
    before = nn.functional.pad(after.reshape(len(after), *states.shape[1:])[..., :-1], (1, 0))
    squares = (unit.W @ before.square().flatten(1)).T.reshape(len(u), -1, len(unit.W))[:, : u.shape[1]]
    answers: Tensor = linear + unit.D * u + squares
    return answers


def _drive(B: Tensor, u: Tensor) -> Tensor:
    """Return B u, ``(modes, batch, time)``, its time rounded up to whole chunks by zeros."""
    inputs = nn.functional.pad(u, (0, 0, 0, -u.shape[1] % CHUNK)).flatten(0, 1).T
    parts = torch.cat((B.real, B.imag)) @ inputs
    return torch.complex(parts[: len(B)], parts[len(B) :]).reshape(len(B), len(u), -1)


def _read(C: Tensor, states: Tensor, u: Tensor) -> Tensor:
    """Return Re(C x), ``(batch, time, outputs)``, of states ``(modes, batch * time)``, as long as the input."""
    flat = torch.cat((states.real, states.imag))
    answers: Tensor = (torch.cat((C.real, -C.imag), dim=1) @ flat).T.reshape(len(u), -1, len(C))[:, : u.shape[1]]
    return answers
