"""The linear recurrent unit (LRU; Orvieto et al. 2023), as published or extended by quadratic outputs.

    x[k] = exp(-exp(nu_log) + i exp(theta_log)) x[k - 1] + exp(gamma_log) B u[k]
    y[k] = Re(C x[k]) + D u[k]  (+ W (V s[k - 1])^2 with s = (Re x, Im x), where the layer has V and W)

Indexing: the linear output reads the state after the sample, ``C x[k+1]`` in paper form; reading moves it.  The quadratic one
reads the state before it, as the paper form does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.replacement import Replacement
from ssm2edge.systems.system import System, from_real_part

VECTORS = ("nu_log", "theta_log", "gamma_log")
MATRICES = ("B", "C")


class ReducedLRU(Replacement):
    """An LRU that is nothing but its block."""

    def compute(self, u: Tensor) -> Tensor:
        """Filter."""
        y: Tensor = self.block(u)
        return y


class LRULibrary:
    """Recognises LRUs by their parameters: B and C complex, or real with a last axis of (real, imaginary) or split in two."""

    name = "LRU"

    def matches(self, module: nn.Module) -> bool:
        """Whether the module itself has the published parameters, in one of the spellings."""
        own = module._parameters
        if not all(isinstance(own.get(name), Tensor) for name in (*VECTORS, "D")):
            return False
        return all(_stored(module, name) is not None for name in MATRICES)

    def kind(self, module: nn.Module) -> str:
        """MIMO, or MIMO with quadratic outputs."""
        return "MIMO" if _quadratic(module) is None else "MIMO with quadratic outputs"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Time before the features."""
        return (batch, length, _complex(module, "B").shape[-1])

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system of order twice the number of stored modes.

        Raises
        ------
        LayerError
            If a weight is not finite, or the shapes are not those of an LRU.
        """
        for name, value in module.named_parameters(recurse=False):
            if not bool(torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all()):
                raise LayerError(f"its parameter {name} holds NaN or infinite values; give weights of a finished training.")
        nu, theta, gamma = (module.get_parameter(name).detach().cpu().double().exp() for name in VECTORS)
        poles = torch.exp(torch.complex(-nu, theta))
        B, C = gamma.unsqueeze(-1) * _complex(module, "B"), _complex(module, "C")
        D = module.get_parameter("D").detach().cpu().double()
        D = torch.diag(D) if D.ndim == 1 else D
        if nu.ndim != 1 or len(B) != len(nu) or C.shape[-1] != len(nu) or tuple(D.shape) != (len(C), B.shape[-1]):
            raise LayerError(
                f"its parameters have the names of an LRU but not the shapes: B {tuple(B.shape)}, C {tuple(C.shape)}, "
                f"D {tuple(D.shape)} for {tuple(nu.shape)} modes."
            )
        system = from_real_part(poles, B, C * poles, D + (C @ B).real)
        squares = _quadratic(module)
        if squares is None:
            return {ONLY: system}
        V, W = (x.detach().cpu().double() for x in squares)
        modes = len(nu)
        # V s = Vr Re x + Vi Im x = 2 Re(((Vr - i Vi) / 2) x), on the stored mode and its conjugate, the upper one first.
        half = torch.complex(V[:, :modes], -V[:, modes:]) / 2
        half = torch.where(poles.imag >= 0, half, half.conj())
        rows = torch.stack((half, half.conj()), dim=-1).flatten(-2)
        M = torch.einsum("pq,qi,qj->pij", W.to(rows), rows, rows)
        return {ONLY: System(system.poles, system.B, system.C, system.D, M)}

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """All of the layer's own."""
        return {ONLY: list(module.parameters(recurse=False))}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Exchange the whole layer for the block.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns something that a reduced layer cannot.
        """
        return ReducedLRU(module, blocks, self.input_shape(module, 1, 2))


def _quadratic(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Squared directions V ``(q, 2 modes)`` and their mixing W ``(p, q)``, where the layer has any."""
    V, W = module._parameters.get("V"), module._parameters.get("W")
    modes = len(module.get_parameter("nu_log"))
    if V is None or W is None or V.ndim != 2 or W.ndim != 2 or len(V) == 0 or V.shape[1] != 2 * modes:
        return None
    return V, W


def _stored(module: nn.Module, name: str) -> Callable[[], Tensor] | None:
    """How a complex matrix of the layer is stored, as a call that puts it together; None if it is not there."""
    own = module._parameters
    whole = own.get(name)
    if whole is not None and whole.is_complex() and whole.ndim == 2:
        return lambda: whole
    if whole is not None and whole.ndim == 3 and whole.shape[-1] == 2:
        return lambda: torch.view_as_complex(whole.double().contiguous())
    for real, imaginary in ((f"{name}_re", f"{name}_im"), (f"{name}_real", f"{name}_imag")):
        first, second = own.get(real), own.get(imaginary)
        if first is not None and second is not None and first.ndim == 2:
            parts = first, second
            return lambda: torch.complex(parts[0].double(), parts[1].double())
    return None


def _complex(module: nn.Module, name: str) -> Tensor:
    stored = _stored(module, name)
    if stored is None:
        raise LayerError(f"it has no matrix {name}.")
    return stored().detach().cpu().to(torch.complex128)
