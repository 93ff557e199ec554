"""The S5 layer in the parameters of its JAX code (Smith et al. 2023, lindermanlab/S5), as a PyTorch module and as a library.

    x[k] = pole x[k - 1] + gain B u[k]        y[k] = w Re(C x[k]) + D u[k]

w is 2 if one mode of each conjugate pair is stored (``conj_sym``) and 1 if all are.  B and C have a last axis of (real,
imaginary); log_step is ``(P, 1)`` or ``(P,)``.  With ``clip_eigs`` the real parts of the modes are at most -1e-4.

Indexing: the output reads the state after the sample, ``C x[k+1]``, and so does the system.  A bidirectional layer runs
the same modes over the reversed sequence as well: C1 reads the one run and C2 the reversed one (in one matrix C, the first P
columns and the others); both include the sample itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import DIRECTIONS, ONLY, LayerError
from ssm2edge.layers.mimo_layer import ReducedMimoLayer
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.discretisation import DISCRETISATIONS
from ssm2edge.systems.system import System, from_real_part, reading_after

LARGEST_REAL_PART = -1e-4
"""Largest real part of the modes with ``clip_eigs``."""

VECTORS = ("Lambda_re", "Lambda_im", "D", "log_step")


class S5(nn.Module):
    """S5 layer ``(batch, time, features) -> (batch, time, features)``, zero initial state.

    Parameters
    ----------
    features
        H, inputs and outputs.
    states
        P, stored modes.
    conj_sym
        True if one mode of each conjugate pair is stored.
    clip_eigs
        True if the modes' real parts are kept below zero.
    bidirectional
        True if a second output matrix reads the modes run over the reversed sequence.
    discretization
        ``zoh`` or ``bilinear``.
    step_rescale
        Factor of all step sizes.

    Raises
    ------
    ValueError
        If the discretisation is unknown.
    """

    def __init__(
        self,
        features: int,
        states: int,
        conj_sym: bool = True,
        clip_eigs: bool = False,
        bidirectional: bool = False,
        discretization: str = "zoh",
        step_rescale: float = 1.0,
    ) -> None:
        super().__init__()
        if discretization not in DISCRETISATIONS:
            raise ValueError(f"the discretisation is {discretization!r}; known are {', '.join(DISCRETISATIONS)}.")
        self.conj_sym = conj_sym
        self.clip_eigs = clip_eigs
        self.bidirectional = bidirectional
        self.discretization = discretization
        self.step_rescale = step_rescale
        self.Lambda_re = nn.Parameter(torch.full((states,), -0.5))
        self.Lambda_im = nn.Parameter(torch.pi * torch.arange(states))
        self.B = nn.Parameter(torch.randn(states, features, 2) / (2 * features) ** 0.5)
        for name in ("C1", "C2") if bidirectional else ("C",):
            self.register_parameter(name, nn.Parameter(torch.randn(features, states, 2) / (2 * states) ** 0.5))
        self.D = nn.Parameter(torch.ones(features))
        self.log_step = nn.Parameter(torch.linspace(-6.9, -2.3, states)[:, None])

    def forward(self, u: Tensor) -> Tensor:
        precision = torch.promote_types(self.B.dtype, torch.complex64)
        poles, B, outputs = (x.to(precision) for x in _discrete(self))
        causal, *anticausal = torch.split(outputs, len(poles), dim=1)
        drive = u.to(precision) @ B.mT
        y = (_scan(poles, drive) @ causal.mT).real
        for output in anticausal:
            y = y + (_scan(poles, drive.flip(1)).flip(1) @ output.mT).real
        y = y + self.D * u
        return y


class S5Library:
    """Recognises S5 layers with the parameters of the JAX code, in this package's module or another port of it."""

    name = "S5"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module itself has the parameters."""
        own = module._parameters
        pairs = [own.get("B"), *_output_matrices(module)]
        return (
            all(own.get(name) is not None for name in VECTORS)
            and len(pairs) > 1
            and all(x is not None and x.ndim == 3 and x.shape[-1] == 2 for x in pairs)
        )

    def kind(self, module: nn.Module) -> str:
        """Return MIMO, in both directions or one."""
        return "MIMO" if _parts(module) == (ONLY,) else "bidirectional MIMO"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before the features."""
        return (batch, length, len(module.get_parameter("D")))

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system of order twice the number of stored modes, or two of them if the layer is bidirectional.

        Raises
        ------
        LayerError
            If a weight is not finite or of another shape, or the discretisation is unknown.
        """
        check_finite(module.named_parameters(recurse=False))
        features, states = len(module.get_parameter("D")), len(module.get_parameter("Lambda_re"))
        shapes = {name: tuple(value.shape) for name, value in module.named_parameters(recurse=False)}
        columns = sum(x.shape[1] for x in _output_matrices(module))
        if (
            shapes["B"] != (states, features, 2)
            or columns not in (states, 2 * states)
            or any(len(x) != features for x in _output_matrices(module))
            or shapes["log_step"] not in ((states,), (states, 1))
        ):
            raise LayerError(f"its parameters have the names of an S5 layer but not the shapes: {shapes}.")
        poles, B, outputs = (x.cpu() for x in _discrete(module))
        D = torch.diag(module.get_parameter("D").cpu().double())
        systems = [
            reading_after(from_real_part(poles, B, C, skip))
            for C, skip in zip(torch.split(outputs, states, dim=1), (D, torch.zeros_like(D)), strict=False)
        ]
        return dict(zip(_parts(module), systems, strict=True))

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return all of the layer's own; the directions of a bidirectional one share them."""
        return {part: list(module.parameters(recurse=False)) for part in _parts(module)}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Exchange the whole layer for its blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedMimoLayer(module, blocks, self.input_shape(module, 1, 2))


def _output_matrices(module: nn.Module) -> list[Tensor]:
    """Return the stored C, or C1 and C2."""
    own = module._parameters
    names = ("C",) if own.get("C") is not None else ("C1", "C2")
    return [x for name in names if (x := own.get(name)) is not None]


def _parts(module: nn.Module) -> tuple[str, ...]:
    columns = sum(x.shape[1] for x in _output_matrices(module))
    return DIRECTIONS if columns == 2 * len(module.get_parameter("Lambda_re")) else (ONLY,)


def _discrete(module: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return poles, input matrix and output matrix (or both, side by side) of the recurrence, complex128.

    In float32 the gain of a slow mode, ``exp(lambda dt) - 1`` over lambda, would lose as many digits as dt is below 1.
    """
    rule = DISCRETISATIONS.get(getattr(module, "discretization", "zoh"))
    if rule is None:
        raise LayerError(f"its discretisation is {module.discretization!r}; known are {', '.join(DISCRETISATIONS)}.")
    real = module.Lambda_re.double()
    if getattr(module, "clip_eigs", False):
        real = real.clamp(max=LARGEST_REAL_PART)
    step = getattr(module, "step_rescale", 1.0) * module.log_step.double().exp().flatten()
    poles, gains = rule(torch.complex(real, module.Lambda_im.double()), step)
    weight = 2.0 if getattr(module, "conj_sym", True) else 1.0
    B = gains[:, None] * torch.view_as_complex(module.B.double().contiguous())
    C = weight * torch.cat([torch.view_as_complex(x.double().contiguous()) for x in _output_matrices(module)], dim=1)
    return poles, B, C


def _scan(poles: Tensor, drive: Tensor) -> Tensor:
    """Return the states after each sample, ``x[k] = poles x[k - 1] + drive[k]``, in log2(time) passes over the sequence."""
    step, x = 1, drive
    while step < drive.shape[1]:
        x = torch.cat((x[:, :step], x[:, step:] + poles * x[:, :-step]), dim=1)
        poles, step = poles * poles, 2 * step
    return x
