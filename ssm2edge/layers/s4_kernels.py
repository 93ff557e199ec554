"""The parameters of the kernels of state-spaces/s4, version 4: diagonal (S4D) and diagonal plus low rank (S4).

With H channels, C heads and N stored modes (half of the states), a kernel module holds

    inv_dt (H, 1) or (H, N)    A_real, A_imag (S, N)    B (1, S, N, 2)    C (C, H, N, 2)    P (R, S, N, 2)

with S sets of A, B and P, repeated until every channel has one, each in the form that its ``*_transform`` names:
``A = -f(A_real) - i g(A_imag)``, ``dt = h(inv_dt)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.kernel_systems import Heads, Kernel, heads_of
from ssm2edge.layers.weights import check_finite

SHARED, COMPLEX = ("inv_dt", "A_real", "B", "C"), ("A_imag",)
LOW_RANK = "P"

TRANSFORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "exp": torch.exp,
    "relu": lambda x: torch.relu(x) + 1e-4,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
}
"""Transforms of stored parameters to positive numbers, by the names of the kernels' options."""


def is_kernel(module: object) -> bool:
    """Return whether a module has the parameters (or buffers, where they are not trained) of such a kernel."""
    return isinstance(module, nn.Module) and all(isinstance(getattr(module, name, None), Tensor) for name in SHARED)


def stored(kernel: nn.Module) -> list[Tensor]:
    """Return the tensors that the kernel's system is stored in."""
    names = (*SHARED, *COMPLEX, LOW_RANK)
    return [value for name in names if isinstance(value := getattr(kernel, name, None), Tensor)]


def read_kernel(kernel: nn.Module) -> Kernel:
    """Transform and repeat a kernel's parameters.

    Raises
    ------
    LayerError
        If a parameter is not finite, of another shape, or under an unknown transform.
    """
    names = (*SHARED, *COMPLEX, LOW_RANK)
    values = {name: value.cpu().double() for name in names if isinstance(value := getattr(kernel, name, None), Tensor)}
    check_finite(values.items())
    real = "A_imag" not in values
    A, C = -_transformed(kernel, "real_transform", "exp", values["A_real"]), values["C"]
    B, P = values["B"], values.get(LOW_RANK)
    if not real:
        A = torch.complex(A, -_transformed(kernel, "imag_transform", "none", values["A_imag"]))
        B, C = (_complex(name, values[name]) for name in ("B", "C"))
        P = None if P is None else _complex(LOW_RANK, P)
    elif P is not None:
        raise LayerError("its low-rank state matrix is real, which the published layer cannot run either; use a diagonal one.")
    inverse = torch.sinh(values["inv_dt"]) if getattr(kernel, "dt_fast", False) else values["inv_dt"]
    dt = _transformed(kernel, "dt_transform", "exp", inverse)
    channels, modes = C.shape[-2:] if C.ndim == 3 else (0, 0)
    sets = len(A)
    fits = A.ndim == 2 and A.shape == B.shape[1:] and len(B) == 1 and A.shape[-1] == modes and channels % max(sets, 1) == 0
    if not fits or dt.shape not in ((channels, 1), (channels, modes)) or (P is not None and P.shape[1:] != A.shape):
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise LayerError(f"its kernel's parameters have the names of state-spaces/s4 but not the shapes: {shapes}.")
    times = channels // sets
    A, B = A.repeat(times, 1), B[0].repeat(times, 1)
    limit = getattr(kernel, "bandlimit", None)
    if limit is not None:
        # Modes that oscillate faster than the limit are silent.
        C = C * (dt * A.imag.abs() / (2 * math.pi) < limit / 2)
    return Kernel(dt, A, B, C, None if P is None else P.repeat(1, times, 1), sets)


def read_heads(kernel: nn.Module, length: int | None, rate: float = 1.0) -> Heads:
    """Read the systems of a kernel.

    Parameters
    ----------
    kernel
        The kernel module.
    length
        Samples that the layer is limited to.
    rate
        Factor of the steps at which the layer is called.

    Raises
    ------
    LayerError
        If a parameter is at fault, or the discretisation is unknown.
    """
    truncated = int(getattr(kernel, "l_kernel", torch.zeros(())))
    return heads_of(read_kernel(kernel), str(getattr(kernel, "disc", "zoh")), length, truncated, rate)


def _transformed(kernel: nn.Module, option: str, default: str, value: Tensor) -> Tensor:
    name = str(getattr(kernel, option, default))
    if name not in TRANSFORMS:
        raise LayerError(f"its {option} {name!r} is none of {', '.join(TRANSFORMS)}; register a library that reads it.")
    return TRANSFORMS[name](value)


def _complex(name: str, value: Tensor) -> Tensor:
    if value.shape[-1:] != (2,):
        raise LayerError(f"its parameter {name} of shape {tuple(value.shape)} does not end in (real, imaginary).")
    return torch.view_as_complex(value.contiguous())
