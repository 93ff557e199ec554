"""The linear recurrent unit (LRU; Orvieto et al. 2023), as published or extended by quadratic outputs.

    x[k] = exp(-exp(nu_log) + i exp(theta_log)) x[k - 1] + exp(gamma_log) B u[k]
    y[k] = Re(C x[k]) + D u[k]  (+ W (V s[k - 1])^2 with s = (Re x, Im x), if the layer has V and W)

Spellings: nu_log or log_nu, and so on; B and C complex, or real with a last axis of (real, imaginary), or split in two (B_re and
B_im, B_real and B_imag); D a matrix, a vector or a number, or none.  A layer without gamma_log normalises by sqrt(1 - |pole|^2),
or not at all: its own forward decides.  This covers the PyPI package lru-pytorch (read in 0.1.3: B and C complex, D a matrix,
one sequence or a batch, no states returned) and the LRU of the package lrnnx (read in 1.0.0: B and C split, D a vector).

Indexing: the linear output reads the state after the sample, ``C x[k+1]``, and so does the system unless D is a full matrix,
which absorbs the difference to paper form.  The quadratic one reads the state before it, as in every system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.mimo_layer import ReducedMimoLayer
from ssm2edge.layers.replacement import answer_of, input_like
from ssm2edge.layers.weights import as_complex, check_finite
from ssm2edge.systems.division import relative
from ssm2edge.systems.response import simulate
from ssm2edge.systems.system import System, from_real_part, reading_after

MATRICES = ("B", "C")

LOGARITHMS = tuple(form.format(name) for name in ("nu", "theta", "gamma") for form in ("{}_log", "log_{}"))

TOLERANCE = 1e-3
"""Largest relative difference between a layer's answer to noise and that of its normalisation."""


class LRULibrary:
    """Recognises LRUs by their parameters, in any of the spellings."""

    name = "LRU"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module itself has the published parameters."""
        if _logarithm(module, "nu") is None or _logarithm(module, "theta") is None:
            return False
        return all(_stored(module, name) is not None for name in MATRICES)

    def kind(self, module: nn.Module) -> str:
        """Return MIMO, or MIMO with quadratic outputs."""
        return "MIMO" if _quadratic(module) is None else "MIMO with quadratic outputs"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before the features."""
        return (batch, length, _complex(module, "B").shape[-1])

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system of order twice the number of stored modes.

        Raises
        ------
        LayerError
            If a weight is not finite, the shapes are not those of an LRU, or its normalisation is another one.
        """
        # A logarithm of minus infinity is a zero, as a frequency that of a real pole.
        check_finite((name, x.exp() if name in LOGARITHMS else x) for name, x in _tensors(module).items())
        nu, theta = (_exponential(module, name) for name in ("nu", "theta"))
        poles = torch.exp(torch.complex(-nu, theta))
        B, C = _complex(module, "B"), _complex(module, "C")
        skip = _tensors(module).get("D")
        D = torch.zeros(len(C), B.shape[-1]).double() if skip is None else skip.cpu().double()
        if D.ndim < 2 and D.numel() in (1, len(C)) and len(C) == B.shape[-1]:
            D = torch.diag(D.expand(len(C)))
        if len(B) != len(nu) or theta.shape != nu.shape or C.shape[-1] != len(nu) or tuple(D.shape) != (len(C), B.shape[-1]):
            raise LayerError(
                f"its parameters have the names of an LRU but not the shapes: B {tuple(B.shape)}, C {tuple(C.shape)}, "
                f"D {tuple(D.shape)} for {tuple(nu.shape)} modes."
            )

        def normalised(gains: Tensor) -> System:
            scaled = gains[:, None] * B
            system = reading_after(from_real_part(poles, scaled, C, D))
            squares = _quadratic(module)
            return system if squares is None else _with_squares(system, poles, *squares)

        if _logarithm(module, "gamma") is not None:
            return {ONLY: normalised(_exponential(module, "gamma"))}
        candidates = [normalised(gains) for gains in ((1 - poles.abs().square()).sqrt(), torch.ones_like(nu))]
        return {ONLY: _that_answers_as(module, self.input_shape(module, 1, 32), candidates)}

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return all of the layer's own."""
        return {ONLY: list(module.parameters(recurse=False))}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Exchange the whole layer for the block.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedMimoLayer(module, blocks, self.input_shape(module, 1, 2))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's own parameters and buffers."""
    return {name: x for name, x in (*module._parameters.items(), *module._buffers.items()) if x is not None}


def _logarithm(module: nn.Module, name: str) -> Tensor | None:
    own = _tensors(module)
    return next((own[spelling] for spelling in (f"{name}_log", f"log_{name}") if spelling in own), None)


def _exponential(module: nn.Module, name: str) -> Tensor:
    stored = _logarithm(module, name)
    assert stored is not None  # asked for before
    return stored.cpu().double().exp().flatten()


def _with_squares(system: System, poles: Tensor, V: Tensor, W: Tensor) -> System:
    V, W = (x.cpu().double() for x in (V, W))
    modes = len(poles)
    # V s = Vr Re x + Vi Im x = 2 Re(((Vr - i Vi) / 2) x), on the stored mode and its conjugate, the upper one first.
    half = torch.complex(V[:, :modes], -V[:, modes:]) / 2
    half = torch.where(poles.imag >= 0, half, half.conj())
    rows = torch.stack((half, half.conj()), dim=-1).flatten(-2)
    M = torch.einsum("pq,qi,qj->pij", W.to(rows), rows, rows)
    return replace(system, M=M)


def _that_answers_as(module: nn.Module, shape: tuple[int, ...], candidates: Sequence[System]) -> System:
    """Return the system that answers to noise as the layer does.

    Raises
    ------
    LayerError
        If none does.
    """
    u = input_like(module, shape, seed=0)
    with torch.no_grad():
        answer = answer_of(module, u)
    y = answer[0] if isinstance(answer, tuple | list) else answer
    for system in candidates:
        with torch.no_grad():
            expected = simulate(system, u.detach().cpu().double().mT)[0].mT
        if isinstance(y, Tensor) and y.shape == expected.shape:
            difference = float(relative((y.detach().cpu().double() - expected).abs().max(), expected.abs().max()))
            if difference <= TOLERANCE:
                return system
    raise LayerError(
        "it has no gamma_log, and its forward scales its input neither by sqrt(1 - |pole|^2) nor by one; register a layer "
        "library that reads it."
    )


def _quadratic(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return squared directions V ``(q, 2 modes)`` and their mixing W ``(p, q)``, if the layer has any."""
    V, W = module._parameters.get("V"), module._parameters.get("W")
    modes = len(_exponential(module, "nu"))
    if V is None or W is None or V.ndim != 2 or W.ndim != 2 or len(V) == 0 or V.shape[1] != 2 * modes:
        return None
    return V, W


def _stored(module: nn.Module, name: str) -> Callable[[], Tensor] | None:
    """Return a call that puts a complex matrix together from its stored form; None if it is not there."""
    own = _tensors(module)
    whole = own.get(name)
    if whole is not None and whole.ndim == (2 if whole.is_complex() else 3) and (whole.is_complex() or whole.shape[-1] == 2):
        return lambda: as_complex(whole)
    for real, imaginary in ((f"{name}_re", f"{name}_im"), (f"{name}_real", f"{name}_imag")):
        first, second = own.get(real), own.get(imaginary)
        if first is not None and second is not None and first.ndim == 2:
            parts = first, second
            return lambda: as_complex(torch.stack(parts, dim=-1))
    return None


def _complex(module: nn.Module, name: str) -> Tensor:
    stored = _stored(module, name)
    if stored is None:
        raise LayerError(f"it has no matrix {name}.")
    return stored()
