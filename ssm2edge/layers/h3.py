"""H3 as published (Fu et al. 2023): attention-like products around a shift SSM and a diagonal SSM.

    k' = shift(k) + ssm_k_D k        y = sum over d1 of q_d1 (K * (k'_d1 v_d2) + D k'_d1 v_d2)        heads of d1 = d2 = head_dim

The diagonal SSM is the layer's bank, one channel a head, a kernel of ``s4_early_kernels.py`` that emits ``C x[k+1]``.  The shift
SSM stores B and C of N taps, ``taps[j] = sum_m B[m] C[m + j]``: a convolution of N taps has no smaller system with poles, so that
it stays a convolution, its skip among the taps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.calls import longest_of, set_length, stored_length
from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.replacement import Replacement
from ssm2edge.layers.s4_early_kernels import (
    depends_on_length,
    early_stored,
    innermost,
    is_early_kernel,
    read_early,
    shares_poles,
)
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.system import System

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "output_linear")
SHIFT, SHIFT_SKIP = "ssm_k_kernel", "ssm_k_D"
LONGEST = ("L", "l_max")


class ReducedH3(Replacement):
    """An H3 layer whose diagonal SSM is a reduced block; projections are the original modules, the shift SSM a convolution."""

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__(original, blocks, shape)
        for name in PROJECTIONS:
            self.add_module(name, copy.deepcopy(original.get_submodule(name)))
        taps = _shift_taps(original)
        self.head_dim = taps.shape[0] // _skip(original).numel()
        like = next(original.parameters())
        self.taps = nn.Parameter(taps.flip(-1)[:, None].to(like.device, like.dtype))

    def heads(self, u: Tensor) -> list[Tensor]:
        """Return the features of each head's first, second and further channels, ``(batch, heads, time)``."""
        return list(u.reshape(u.shape[0], -1, self.head_dim, u.shape[-1]).unbind(2))

    def compute(self, u: Tensor) -> Tensor:
        """Shift the keys, filter every product of keys and values, and sum what the queries take of them."""
        q, k, v = (self.get_submodule(name)(u).transpose(1, 2) for name in PROJECTIONS[:3])
        k = nn.functional.conv1d(nn.functional.pad(k, (self.taps.shape[-1] - 1, 0)), self.taps, groups=len(self.taps))
        pairs = list(zip(self.heads(q), self.heads(k), strict=True))
        sums = []
        for value in self.heads(v):
            filtered = [query * self.block(key * value) for query, key in pairs]
            sums.append(torch.stack(filtered).sum(0) if len(filtered) > 1 else filtered[0])
        mixed: Tensor = self.get_submodule(PROJECTIONS[3])(torch.cat(sums, dim=1).transpose(1, 2))
        return mixed


class H3Library:
    """Recognises H3 layers by their parts, wherever copies of the file live."""

    name = "H3"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module has the projections, a shift kernel and another one, and a skip of each."""
        shift, skip = innermost(getattr(module, SHIFT, None)), getattr(module, "D", None)
        return (
            shift is not None
            and all(isinstance(getattr(shift, name, None), Tensor) for name in ("B", "C"))
            and isinstance(skip, Tensor)
            and isinstance(getattr(module, SHIFT_SKIP, None), Tensor)
            and is_early_kernel(getattr(module, "kernel", None))
            and all(isinstance(getattr(module, name, None), nn.Module) for name in PROJECTIONS)
        )

    def kind(self, module: nn.Module) -> str:
        """Return a bank of channels, independent or with shared poles."""
        return "SISO bank with shared poles" if shares_poles(_kernel(module)) else "SISO bank"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to the longest length; exactly so many if the kernel is normalised over it."""
        longest = longest_of(module, *LONGEST)
        if longest is None:
            return None
        return range(longest if depends_on_length(_kernel(module)) else 1, longest + 1)

    def fix_length(self, module: nn.Module, length: int) -> None:
        """Set the length of a kernel that is normalised over it and does not store one."""
        if depends_on_length(_kernel(module)) and stored_length(module, *LONGEST) is None:
            set_length(module, length)

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before the features."""
        shift = _shift(module)
        return (batch, length, shift.shape[1])

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the diagonal SSM, float64.

        Raises
        ------
        LayerError
            If a parameter is at fault, or an option is unknown.
        """
        skip, kernel = _skip(module).detach().cpu().double().reshape(1, -1), _kernel(module)
        check_finite([("D", skip), ("C", _shift(module)), (SHIFT_SKIP, _tensor(module, SHIFT_SKIP))])
        length = longest_of(module, *LONGEST)
        if length is None and depends_on_length(kernel):
            raise LayerError(
                "its kernel is normalised over the length of the sequence, and the layer does not say which; give it the length "
                "it is used on as l_max."
            )
        heads = read_early(kernel, length)
        if heads.system.batch_shape != skip.shape:
            raise LayerError(
                f"its kernel has {' times '.join(map(str, heads.system.batch_shape))} channels, its skip D {skip.numel()}; "
                "register a library that reads it."
            )
        return {ONLY: heads.bank(slice(1), skip)}

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the tensors of the diagonal SSM and its skip."""
        return {ONLY: [*early_stored(_kernel(module)), _skip(module)]}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep the projections; exchange the diagonal SSM for the block, and the shift SSM for its convolution.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedH3(module, blocks, self.input_shape(module, 1, longest_of(module, *LONGEST) or 2))


def _tensor(module: nn.Module, name: str) -> Tensor:
    value = getattr(module, name)
    assert isinstance(value, Tensor)
    return value


def _skip(module: nn.Module) -> Tensor:
    return _tensor(module, "D")


def _kernel(module: nn.Module) -> nn.Module:
    kernel = innermost(module.get_submodule("kernel"))
    assert kernel is not None
    return kernel


def _shift(module: nn.Module) -> Tensor:
    """Return C of the shift SSM, ``(1, features, taps)``."""
    shift = innermost(module.get_submodule(SHIFT))
    assert shift is not None
    return _tensor(shift, "C")


def _shift_taps(module: nn.Module) -> Tensor:
    """Return the taps of the shift SSM and its skip, ``(features, taps)`` float64: B and C correlated."""
    shift = innermost(module.get_submodule(SHIFT))
    assert shift is not None
    B, C = (_tensor(shift, name).detach().cpu().double() for name in ("B", "C"))
    points = 2 * B.shape[-1]
    spectrum = torch.fft.rfft(B, n=points).conj() * torch.fft.rfft(C[0], n=points)
    longest = stored_length(module, *LONGEST)
    taps: Tensor = torch.fft.irfft(spectrum, n=points)[..., : min(B.shape[-1], longest or B.shape[-1])].clone()
    taps[:, 0] += _tensor(module, SHIFT_SKIP).detach().cpu().double()
    return taps
