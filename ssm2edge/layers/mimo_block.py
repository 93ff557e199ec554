"""The block that takes the place of a system of many inputs and outputs, linear or with quadratic outputs."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import Block
from ssm2edge.layers.dynamics import initial_dynamics, section_coefficients
from ssm2edge.layers.mimo_operators import mimo
from ssm2edge.layers.operators import computed_in, in_float32
from ssm2edge.systems.mimo_form import MimoSections, from_mimo_sections, to_mimo_sections
from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.system import System


class ReducedMimo(Block):
    """One system ``(batch, time, inputs) -> (batch, time, outputs)``, zero initial state.

    Parameters
    ----------
    system
        Of batch shape ``()``, stable, with or without quadratic outputs.
    outside
        Take poles on and outside the unit circle as well.

    Raises
    ------
    ValueError
        If the system is a batch, or a pole lies on or outside the unit circle.

    Notes
    -----
    With n states, m inputs, p outputs and q squares there are n + n m + p n + p m + q n + p q parameters; p in place of p m, or
    none, where outputs read the state after the sample.
    """

    paired: Tensor
    signs: Tensor

    def __init__(self, system: System, outside: bool = False) -> None:
        super().__init__()
        if not self.fits(system):
            raise ValueError(f"this block holds one system, not a batch of shape {tuple(system.batch_shape)}.")
        sections = to_mimo_sections(system)
        paired = sections.b != 0
        dynamics, signs = initial_dynamics(system.poles, paired, outside)
        self.dynamics = nn.Parameter(dynamics.float())
        self.input = nn.Parameter(sections.input.float())
        self.output = nn.Parameter(sections.output.float())
        D, V, W = sections.feedthrough, sections.factors, sections.mixing
        self.feedthrough = None if D is None else nn.Parameter(D.float())
        self.factors = nn.Parameter(V.float()) if V is not None and len(V) else None
        self.mixing = nn.Parameter(W.float()) if W is not None and W.shape[1] else None
        self.register_buffer("paired", paired)
        self.register_buffer("signs", signs.float())

    @classmethod
    def fits(cls, system: System) -> bool:
        """Return whether it is one system, not a batch."""
        return not system.batch_shape

    @classmethod
    def standing_for(cls, system: System) -> Self:
        """Return the block of an original's own system, which may be unstable."""
        return cls(system, outside=True)

    @property
    def order(self) -> int:
        """Real states."""
        return self.output.shape[-1]

    def system(self) -> System:
        """Return the system as it is now (float64, detached, on the CPU)."""
        a, b = section_coefficients(self.dynamics, self.paired, self.signs)
        linear = (x.detach().cpu().double() for x in (a, b, self.input, self.output))
        others = (self.feedthrough, self.factors, self.mixing)
        return from_mimo_sections(MimoSections(*linear, *(None if x is None else x.detach().cpu().double() for x in others)))

    def exported(self) -> ExportedMimo:
        """Return the block as constants and one operator."""
        return ExportedMimo(self)

    @property
    def skip(self) -> nn.Parameter | None:
        """Weight of each output's own input, ``(p,)``: the feedthrough if it is a diagonal, else None."""
        return None if self.feedthrough is None or self.feedthrough.ndim == 2 else self.feedthrough

    def mixed(self) -> list[Tensor]:
        """Return the coefficients of features that all outputs share: states, inputs if the feedthrough is full, squares."""
        return [x for x in (self.output, self.feedthrough, self.mixing) if x is not None and x is not self.skip]

    def features(self, u: Tensor) -> Tensor:
        """Return what all outputs mix: states, inputs if the feedthrough is full, squares, ``(batch, time, features)``."""
        a, b = section_coefficients(self.dynamics, self.paired, self.signs)
        after = _scan(a, b, u @ self.input.mT.to(u.dtype))
        before = nn.functional.pad(after[:, :-1], (0, 0, 1, 0))
        full = self.feedthrough is not None and self.skip is None
        squares = [] if self.factors is None else [(before @ self.factors.mT.to(u.dtype)).square()]
        return torch.cat([*((before, u) if full else (after,)), *squares], dim=-1)

    def coefficients(self) -> Tensor:
        """Return the coefficients ``(p, features)`` of :meth:`features` in the outputs."""
        return torch.cat(self.mixed(), dim=-1)

    def set_coefficients(self, values: Tensor, skip: Tensor | None = None) -> None:
        """Change the coefficients of :meth:`features`, and the skip where there is one, in place and without gradients."""
        parts = self.mixed()
        with torch.no_grad():
            for parameter, value in zip(parts, torch.split(values, [x.shape[-1] for x in parts], dim=-1), strict=True):
                parameter.copy_(value)
            if self.skip is not None and skip is not None:
                self.skip.copy_(skip)

    def forward(self, u: Tensor) -> Tensor:
        # In the precision of the input, but not below the block's own.
        precise = u.to(torch.promote_types(computed_in(u), self.output.dtype))
        y = self.features(precise) @ self.coefficients().mT.to(precise.dtype)
        if self.skip is not None:
            y = y + self.skip.to(precise.dtype) * precise
        return y.to(u.dtype)


def _scan(a: Tensor, b: Tensor, drive: Tensor) -> Tensor:
    """Return the states after each sample, ``x[k] = A x[k - 1] + drive[k]``, in log2(time) passes over the sequence.

    After the pass with step s, x[k] holds what the last 2 s samples contributed; powers of A are made in float64.
    """
    swap, step, x = swap_indices(len(a)), 1, drive
    while step < drive.shape[1]:
        earlier = x[:, :-step]
        moved = a.to(x.dtype) * earlier + b.to(x.dtype) * earlier[..., swap]
        x = torch.cat((x[:, :step], x[:, step:] + moved), dim=1)
        a, b, step = a * a + b * b[swap], a * b + b * a[swap], 2 * step
    return x


class ExportedMimo(nn.Module):
    """A :class:`ReducedMimo` as constants and one operator: what ``torch.export`` sees."""

    a: Tensor
    b: Tensor
    input: Tensor
    output: Tensor
    feedthrough: Tensor | None
    factors: Tensor | None
    mixing: Tensor | None

    def __init__(self, block: ReducedMimo) -> None:
        super().__init__()
        a, b = section_coefficients(block.dynamics, block.paired, block.signs)
        self.register_buffer("a", a.detach().float())
        self.register_buffer("b", b.detach().float())
        for name in ("input", "output", "feedthrough", "factors", "mixing"):
            value = getattr(block, name)
            self.register_buffer(name, None if value is None else value.detach().float())

    def forward(self, u: Tensor) -> Tensor:
        coefficients = (self.a, self.b, self.input, self.output, self.feedthrough, self.factors, self.mixing)
        return in_float32(lambda x: mimo(x, *coefficients), u)
