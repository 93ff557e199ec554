"""The parameters of S4's kernels before version 4, in state-spaces/s4 and its copies (safari, H3, liquid-S4).

A wrapper (``SSKernel``, ``HippoSSKernel``, ``S4DKernel``) holds the kernel module, with H channels, C heads, N stored modes and S
sets, repeated until every channel has one:

    log_dt (H,)    C (C, H, N, 2)    B (S, N, 2) or (1, S, N, 2), or in C    P, Q (R, S, N, 2)        (real: without the 2)
    w (S, N, 2), or its real part log_w_real, inv_w_real, log_A_real or inv_A_real (S, N) and w_imag or A_imag

The state matrix is ``diag(w) - P Q^T``, Q the conjugate of P where none is stored.  C holds ``C (I - dA^L)`` once a low-rank
kernel has run, for the internal length ``L``.  ``EMAKernel`` holds Mega's parameters (``mega.py``) instead.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.kernel_systems import Heads, Kernel, diagonal, heads_of
from ssm2edge.layers.weights import as_complex, check_finite

REAL, IMAGINARY, WHOLE = ("log_w_real", "inv_w_real", "log_A_real", "inv_A_real"), ("w_imag", "A_imag"), "w"
SHARED, LOW_RANK = ("log_dt", "C"), ("P", "Q")
AVERAGING = ("delta", "alpha", "beta", "gamma")
"""Parameters of a moving average as a kernel."""

METHODS = ("_w", "_A")
"""Methods of kernels that return the state matrix, whatever its parametrisation."""

TRANSFORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "exp": torch.exp,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
}
"""Transforms of stored real parts to positive numbers, by ``real_type``."""


def innermost(kernel: object) -> nn.Module | None:
    """Return the module that holds the parameters, inside its wrappers."""
    while isinstance(kernel, nn.Module) and isinstance(inner := getattr(kernel, "kernel", None), nn.Module):
        kernel = inner
    return kernel if isinstance(kernel, nn.Module) else None


def is_early_kernel(kernel: object) -> bool:
    """Return whether a module is such a kernel, or wraps one."""
    inner = innermost(kernel)
    if inner is None:
        return False
    held = _tensors(inner)
    poles = WHOLE in held or (any(name in held for name in REAL) and any(name in held for name in IMAGINARY))
    return (poles and all(name in held for name in SHARED)) or _is_average(held)


def early_stored(kernel: nn.Module) -> list[Tensor]:
    """Return the tensors that the kernel's system is stored in."""
    held = _tensors(kernel)
    names = AVERAGING if _is_average(held) else (*SHARED, "B", WHOLE, *REAL, *IMAGINARY, *LOW_RANK)
    return [held[name] for name in names if name in held]


def shares_poles(kernel: nn.Module) -> bool:
    """Return whether channels share a state matrix."""
    held = _tensors(kernel)
    return not _is_average(held) and _set_count(held) < held["C"].shape[1]


def depends_on_length(kernel: nn.Module) -> bool:
    """Return whether the kernel is normalised over the length of the sequence."""
    return getattr(kernel, "disc", None) == "dss" and "P" not in _tensors(kernel)


def read_early(kernel: nn.Module, length: int | None, rate: float = 1.0) -> Heads:
    """Read the systems of a kernel.

    Parameters
    ----------
    kernel
        The innermost module.
    length
        Samples that the layer is limited to.
    rate
        Factor of the steps at which the layer is called.

    Raises
    ------
    LayerError
        If a parameter is at fault, or an option is unknown.
    """
    held = _tensors(kernel)
    check_finite(held.items())
    if getattr(kernel, "quadrature", None) is not None:
        raise LayerError(
            f"its quadrature {kernel.quadrature!r} weighs the last tap of every length by itself, which no one system "
            "does; train it without."
        )
    if _is_average(held):
        delta, alpha, beta, gamma = (held[name].detach().cpu().double() for name in AVERAGING)
        return average(delta, alpha, beta, gamma, int(getattr(kernel, "channels", 1)))
    values = _kernel_of(kernel, held)
    low_rank = "P" in held
    truncated = getattr(kernel, "L", None) if low_rank else None
    return heads_of(values, str(getattr(kernel, "disc", "zoh")), length, 0 if truncated is None else int(truncated), rate)


def average(delta: Tensor, alpha: Tensor, beta: Tensor, gamma: Tensor, heads: int = 1) -> Heads:
    """Return the systems of a damped moving average: ``K[k] = sum_n p_n beta_n gamma_n q_n^k / sqrt(N)``.

    Parameters
    ----------
    delta, alpha
        ``(channels, N or 1)``: p is the sigmoid of the former, q = 1 - p sigmoid(alpha).
    beta, gamma
        ``(channels, N)``; the channels are the heads' one after the other, and the heads may share all but gamma.
    heads
        Outputs of each channel.
    """
    delta, alpha, beta, gamma = (x.flatten(1) for x in (delta, alpha, beta, gamma))
    p = torch.sigmoid(delta)
    # q near one keeps its digits: it is one less a small number.
    poles = 1 - p * torch.sigmoid(alpha)
    rows, modes = gamma.shape
    alike = len(beta) < rows
    residues = (p * beta).repeat(rows // len(beta), 1) * gamma / math.sqrt(modes)
    shape = (heads, rows // heads, modes)
    return Heads(diagonal(poles.repeat(rows // len(poles), 1).view(shape), residues.view(shape)), None, alike)


def _kernel_of(kernel: nn.Module, held: Mapping[str, Tensor]) -> Kernel:
    values = {name: held[name].detach().cpu().double() for name in ("log_dt", *REAL, *IMAGINARY) if name in held}
    # Kernels of real numbers store them as they are, without an axis of (real, imaginary).
    plain = held["C"].ndim == 3
    C = held["C"].detach().cpu().to(torch.complex128) if plain else as_complex(held["C"])
    channels, modes = C.shape[-2:] if C.ndim == 3 else (0, 0)
    B = torch.ones((1, max(modes, 1)), dtype=C.dtype)
    if "B" in held and modes:
        B = (held["B"].detach().cpu().to(C) if plain else as_complex(held["B"])).reshape(-1, modes)
    P, Q = (as_complex(held[name]) if name in held else None for name in LOW_RANK)
    sets = _set_count(held)
    dt = values["log_dt"].reshape(len(values["log_dt"]), -1)
    dt = (torch.sinh(dt) if getattr(kernel, "fast_gate", False) else dt).exp()
    A = _state_matrix(kernel, held, values)
    fits = A.ndim == 2 and A.shape[-1] == modes and channels % max(sets, 1) == 0 and channels % max(len(B), 1) == 0
    fits = fits and dt.shape in ((channels, 1), (channels, modes)) and channels % max(len(A), 1) == 0
    if not fits or (P is not None and (P.ndim != 3 or P.shape[-1] != modes or channels % P.shape[1] != 0)):
        shapes = ", ".join(f"{name} {tuple(held[name].shape)}" for name in held)
        raise LayerError(f"its kernel's parameters have the names of S4 but not the shapes: {shapes}.")
    A, B = A.repeat(channels // len(A), 1), B.repeat(channels // len(B), 1)
    limit = getattr(kernel, "bandlimit", None)
    if limit is not None:
        # Modes that oscillate faster than the limit are silent.
        C = C * (dt * A.imag.abs() / (2 * math.pi) < limit / 2)
    P, Q = (None if x is None else x.repeat(1, channels // x.shape[1], 1) for x in (P, Q))
    return Kernel(dt, A, B, C, P, sets, Q)


def _state_matrix(kernel: nn.Module, held: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Return the diagonal part ``(sets or channels, N)``: as the kernel itself computes it, or by the names of its parameters."""
    method = next((name for name in METHODS if callable(getattr(kernel, name, None))), None)
    if method is not None:
        precise = copy.deepcopy(kernel).double()
        with torch.no_grad():
            A: Tensor = getattr(precise, method)().detach().cpu().to(torch.complex128)
    elif WHOLE in held:
        A = as_complex(held[WHOLE])
    else:
        name = next(name for name in REAL if name in values)
        transform = str(getattr(kernel, "real_type", "exp")) if name.startswith("inv") else "exp"
        if transform not in TRANSFORMS:
            raise LayerError(f"its real_type {transform!r} is none of {', '.join(TRANSFORMS)}; register a library that reads it.")
        real = TRANSFORMS[transform](values[name])
        if transform == "relu" and "P" not in held:
            real = real + 1e-4
        A = torch.complex(-real, next(values[name] for name in IMAGINARY if name in values))
    return A.real.to(A) if getattr(kernel, "force_real", False) else A


def _set_count(held: Mapping[str, Tensor]) -> int:
    return len(next(held[name] for name in (WHOLE, *REAL) if name in held))


def _is_average(held: Mapping[str, Tensor]) -> bool:
    return all(name in held for name in AVERAGING)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's own parameters and buffers that belong to its system."""
    names = (*SHARED, "B", WHOLE, *REAL, *IMAGINARY, *LOW_RANK, *AVERAGING)
    return {name: value for name in names if isinstance(value := getattr(module, name, None), Tensor)}
