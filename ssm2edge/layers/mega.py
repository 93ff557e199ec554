"""Mega's moving average (Ma et al. 2022: ``MultiHeadEMA``), as published and under the names of transformers and espnet.

    y[t] = f(omega x[t] + sum over j >= 0 of K[j] x[t-j])        K[j] = sum_n p_n beta_n gamma_n q_n^j / sqrt(N)
    p = sigmoid(one of alpha and delta), q = 1 - p sigmoid(the other)

so that the layer emits ``C x[k+1]``.  Versions differ in which of the two damps, in f (SiLU, a module, none), in the axis of time
(the first or the second), and in the second half of a layer in both directions: it starts at the present sample, or at the next
one with its first or its second tap.  Nothing in a module says which; its own answer does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.calls import longest_of
from ssm2edge.layers.contract import DIRECTIONS, ONLY, LayerError
from ssm2edge.layers.convolution import causal_convolution
from ssm2edge.layers.kernel_systems import Heads
from ssm2edge.layers.replacement import Replacement, answer_of, input_like
from ssm2edge.layers.s4_early_kernels import average
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System

SPELLINGS = (
    ("alpha", "delta", "beta", "gamma", "omega"),
    ("damping_factor", "decay_factor", "ema_expansion_matrix", "kernel_projection_matrix", "residual_weight"),
)
"""Names of the parameters: those of p and q in either order, then beta, gamma and omega."""

PADDING, KEPT = ("padding_mask", "mask"), ("attention_mask",)
"""Arguments that mark padded samples, and those that mark the others, ``(batch, time)`` or ``(batch, 1, time)``."""

TRUNCATIONS = ("truncation", "truncation_length", "l_max")

TOLERANCE = 1e-4
"""Largest relative difference between a layer's answer to noise and that of its version."""

TESTED = (9, 12)
"""Sizes of the two axes one of which is time, in the noise that tells the version."""


@dataclass(frozen=True, eq=False)
class Form:
    """A version of the layer: its systems, the function behind them, and its axis of time, 0 or 1."""

    systems: Mapping[str, System]
    activation: nn.Module
    time_axis: int

    def answer(self, u: Tensor) -> Tensor:
        """Return the layer's answer, float64."""
        x = along_last(u.double(), self.time_axis)
        y = torch.zeros_like(x)
        for system, backwards in zip(self.systems.values(), (False, True), strict=False):
            y = y + _filtered(x, system, backwards)
        answer: Tensor = self.activation(along_last(y, self.time_axis, back=True))
        return answer


class ReducedAverage(Replacement):
    """A moving average whose filters are reduced blocks."""

    skip: Tensor

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...], form: Form) -> None:
        super().__init__(original, blocks, shape)
        self.activation, self.time_axis = copy.deepcopy(form.activation), form.time_axis
        # Of masked samples the original still hears its skip.
        self.register_buffer("skip", _parameters(original)[-1].detach().clone()[:, None], persistent=False)

    def forward(self, u: Tensor | None = None, *args: object, **kwargs: object) -> Any:
        if u is None:
            u = self._calls.named_input(kwargs, self.place)
        masks, args, kwargs = self.taken(u, args, kwargs, *PADDING, *KEPT)
        self._calls.check(args, kwargs, self.place, self.mends)
        x = along_last(u, self.time_axis)
        kept = x
        for name, mask in masks.items():
            mask = (mask if mask.ndim == x.ndim else mask.unsqueeze(1)).to(x.dtype)
            kept = kept * (1 - mask if name in PADDING else mask)
        return self._calls.answer(self._activated(self._filtered(kept) + (self.skip.to(x) * (x - kept) if masks else 0)))

    def compute(self, u: Tensor) -> Tensor:
        """Filter all samples."""
        return self._activated(self._filtered(along_last(u, self.time_axis)))

    def _activated(self, y: Tensor) -> Tensor:
        answer: Tensor = self.activation(along_last(y, self.time_axis, back=True))
        return answer

    def _filtered(self, x: Tensor) -> Tensor:
        """Filter, both ways in time where the original does."""
        if hasattr(self, "block"):
            y: Tensor = self.block(x)
        else:
            causal, anticausal = map(self.part, DIRECTIONS)
            y = causal(x) + anticausal.backwards(x)
        return y


class MegaLibrary:
    """Recognises moving averages by their parameters, in either spelling."""

    name = "Mega"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module itself has the parameters, its skip among them."""
        spelling = _spelling(module)
        if spelling is None:
            return False
        first, second, beta, gamma, omega = (getattr(module, name) for name in spelling)
        return omega.ndim == 1 and gamma.ndim == 2 and len({len(x) for x in (first, second, beta, gamma)}) == 1

    def kind(self, module: nn.Module) -> str:
        """Return a bank of independent channels."""
        return "SISO bank"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to the samples at which the layer cuts its kernel off."""
        longest = longest_of(module, *TRUNCATIONS)
        return None if longest is None else range(1, longest + 1)

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before or behind the batch, as the layer takes them, and the channels last."""
        channels = len(_parameters(module)[-1])
        return (length, batch, channels) if form_of(module).time_axis == 0 else (batch, length, channels)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the systems, float64; a bidirectional layer has the parts of ``DIRECTIONS``.

        Raises
        ------
        LayerError
            If a parameter is not finite, or the layer computes something else.
        """
        return form_of(module).systems

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the layer's own: both directions share the kernel's, the forward one has the skip."""
        *kernel, skip = _parameters(module)
        if _both_ways(module):
            return {DIRECTIONS[0]: [*kernel, skip], DIRECTIONS[1]: kernel}
        return {ONLY: [*kernel, skip]}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Exchange everything but the activation for the blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedAverage(module, blocks, self.input_shape(module, 1, 2), form_of(module))


def along_last(u: Tensor, time_axis: int, back: bool = False) -> Tensor:
    """Return ``(batch, channels, time)`` from a layer's own layout, or the layout from that."""
    if time_axis == 1:
        return u.transpose(1, 2)
    return u.permute(2, 0, 1) if back else u.permute(1, 2, 0)


def form_of(module: nn.Module) -> Form:
    """Return the version of a layer that answers to noise as the layer does.

    Raises
    ------
    LayerError
        If a parameter is not finite, or none does.
    """
    spelling = _spelling(module)
    assert spelling is not None
    check_finite(zip(spelling, _parameters(module), strict=True))
    longest = longest_of(module, *TRUNCATIONS)
    sizes = [size if longest is None else min(size, longest) for size in TESTED]
    u = input_like(module, (*sizes, len(_parameters(module)[-1])), seed=0)
    answer = answer_of(module, u)
    y = answer[0] if isinstance(answer, tuple | list) else answer
    for form in _forms(module):
        expected = form.answer(u.detach().cpu())
        if isinstance(y, Tensor) and y.shape == expected.shape:
            difference = (y.detach().cpu().double() - expected).abs().max()
            if float(difference) <= TOLERANCE * float(expected.abs().max()):
                return form
    raise LayerError(
        "it has the parameters of Mega's moving average, but its forward computes something else; register a layer library that "
        "reads it."
    )


def _forms(module: nn.Module) -> Iterator[Form]:
    own = getattr(module, "activation", None)
    activations = [*([copy.deepcopy(own).cpu().double()] if isinstance(own, nn.Module) else []), nn.SiLU(), nn.Identity()]
    for systems in _systems(module):
        for activation in activations:
            for time_axis in (0, 1):
                yield Form(systems, activation, time_axis)


def _systems(module: nn.Module) -> Iterator[Mapping[str, System]]:
    first, second, beta, gamma, omega = (x.detach().cpu().double() for x in _parameters(module))
    both = _both_ways(module)
    for damping, decay in ((first, second), (second, first)):
        heads = average(damping, decay, beta, gamma, 2 if both else 1)
        causal = heads.bank(slice(1), omega[None])
        if not both:
            yield {ONLY: causal}
            continue
        for anticausal in _against_time(heads):
            yield dict(zip(DIRECTIONS, (causal, anticausal), strict=True))


def _against_time(heads: Heads) -> Iterator[System]:
    """Return the second half, whose first sample is the next one, first tap or second; or the present one."""
    following = heads.bank(slice(1, 2))
    yield following.with_output(following.C * following.poles[..., None, :], following.D)
    yield following
    yield heads.bank(slice(1, 2), torch.zeros_like(following.D[None, :, 0, 0]))


def _filtered(x: Tensor, system: System, backwards: bool) -> Tensor:
    taps = impulse_response(system, x.shape[-1])[:, 0, 0]
    y = causal_convolution(x.flip(-1) if backwards else x, taps)
    return y.flip(-1) if backwards else y


def _both_ways(module: nn.Module) -> bool:
    *_, gamma, omega = _parameters(module)
    return len(gamma) == 2 * len(omega)


def _parameters(module: nn.Module) -> list[Tensor]:
    spelling = _spelling(module)
    assert spelling is not None
    return [getattr(module, name) for name in spelling]


def _spelling(module: nn.Module) -> tuple[str, ...] | None:
    def stored(name: str) -> bool:
        return isinstance(getattr(module, name, None), Tensor)

    return next((names for names in SPELLINGS if all(map(stored, names))), None)
