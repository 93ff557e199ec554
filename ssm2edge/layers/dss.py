"""Diagonal state spaces as published (DSS; Gupta, Gu and Berant 2022): the exp forms, and the softmax form at one length.

With one set of modes ``Lambda`` for all H channels, weights W and a step for each channel, possibly another one for the imaginary
parts, the kernels are, after ``dt Lambda`` has become ``Re Lambda dt_0 + i Im Lambda dt_1``,

    exp:      K[k] = Re sum_n W_n (e^(dt Lambda_n) - 1) / Lambda_n  e^(dt Lambda_n k)         (no-scale: without the quotient)
    softmax:  K[k] = Re sum_n W_n / Lambda_n  e^(dt Lambda_n k) / sum_(j < L) e^(dt Lambda_n j)

Indexing: the kernel starts at the present sample, ``C x[k+1]`` in paper form.  The softmax depends on the length L of the kernel:
layer and system are equal on sequences of exactly L samples.  Skip, heads and directions are those of ``s4.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError
from ssm2edge.layers.heads import HeadedReplacement, headed_shape, skip_of, systems_of, tensors_of
from ssm2edge.layers.kernel_systems import Heads, diagonal, normalised
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.system import System
from ssm2edge.systems.tie import Tie

MODES = ("Lambda", "Lambda_log_neg_re", "Lambda_im", "Lambda_log_im")
PARTS = ("activation", "dropout", "output_linear")
VERSIONS = ("softmax", "exp", "exp-re-im", "exp-no-scale", "clip", "clip-no-scale")


class ReducedDSS(HeadedReplacement):
    """A DSS layer whose convolutions are reduced blocks; gates, activation, dropout and mixing are the original modules."""

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__(original, blocks, shape, len(skip_of(original)))
        self.hyper = bool(getattr(original, "hyper", False))
        for name in (*PARTS, *(("hyper_activation",) if self.hyper else ())):
            self.add_module(name, copy.deepcopy(original.get_submodule(name)))

    def compute(self, u: Tensor) -> Tensor:
        """Filter every head, then the original's own parts."""
        y = self.filtered(u)
        if self.hyper:
            y, gate = y.chunk(2, dim=1)
            y = self.get_submodule("hyper_activation")(gate) * y
        y = self.get_submodule("dropout")(self.get_submodule("activation")(y))
        if self.time_first:
            y = y.transpose(-1, -2)
        mixed: Tensor = self.get_submodule("output_linear")(y)
        return mixed


class DSSLibrary:
    """Recognises DSS layers by structure: a kernel with W, log_dt and Lambda, a skip and the parts around them."""

    name = "DSS"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module has the published kernel parameters and the parts around them."""
        kernel, skip = getattr(module, "kernel", None), getattr(module, "D", None)
        return (
            isinstance(kernel, nn.Module)
            and isinstance(skip, Tensor)
            and skip.ndim == 2
            and all(isinstance(getattr(kernel, name, None), Tensor) for name in ("log_dt", "W"))
            and any(isinstance(getattr(kernel, name, None), Tensor) for name in MODES[:2])
            and all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS)
        )

    def kind(self, module: nn.Module) -> str:
        """Return a bank, with its length if the kernel is a softmax."""
        shared = " with shared poles" if _single_step(module.get_submodule("kernel")) or len(skip_of(module)) > 1 else ""
        longest = _longest(module)
        return f"SISO bank{shared}" + (f" (softmax over {longest:,} samples)" if longest and _is_softmax(module) else "")

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to ``max_kernel_length`` samples; exactly so many for a softmax."""
        longest = _longest(module)
        return None if longest is None else range(longest if _is_softmax(module) else 1, longest + 1)

    def fix_length(self, module: nn.Module, length: int) -> None:
        """Set the length of a softmax that does not store one."""
        if _is_softmax(module) and _longest(module) is None:
            setattr(module, "max_kernel_length", length)  # noqa: B010  (an attribute of the layer, unknown to type checkers)

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time, unless the layer says otherwise."""
        return headed_shape(module, batch, length)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the systems, float64; a bidirectional layer has the parts of ``DIRECTIONS``.

        Raises
        ------
        LayerError
            If a parameter is at fault, or a softmax has no length.
        """
        kernel, skip = module.get_submodule("kernel"), skip_of(module).cpu().double()
        check_finite((*((name, getattr(kernel, name)) for name in _stored(kernel)), ("D", skip)))
        return systems_of(module, _heads(kernel, _version(module), _longest(module)), skip)

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the kernel's tensors and the skip; both directions share the kernel's."""
        kernel = module.get_submodule("kernel")
        return tensors_of(module, [getattr(kernel, name) for name in _stored(kernel)], skip_of(module))

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep gates, activation, dropout and mixing; exchange the convolutions and the skip for the blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedDSS(module, blocks, self.input_shape(module, 1, _longest(module) or 2))


def _heads(kernel: nn.Module, version: str, length: int | None) -> Heads:
    values = {name: getattr(kernel, name).cpu().double() for name in _stored(kernel)}
    modes = _modes(values, version, float(getattr(kernel, "max_real_Lambda", 1e-4)))
    weights, log_dt = values["W"], values["log_dt"]
    channels = len(log_dt)
    if (
        weights.ndim != 4
        or weights.shape[1:] != (channels, len(modes), 2)
        or log_dt.ndim > 2
        or log_dt.shape[1:] not in ((), (2,))
    ):
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise LayerError(f"its kernel's parameters have the names of DSS but not the shapes: {shapes}.")
    W = torch.view_as_complex(weights.contiguous())
    dt = log_dt.exp().view(channels, -1)
    step = torch.complex(modes.real * dt[:, :1], modes.imag * dt[:, -1:])
    A, epsilon = modes.expand(channels, -1), float(getattr(kernel, "epsilon", 1e-7))
    if version == "softmax":
        if length is None:
            raise LayerError(
                "its kernel is a softmax over the length of the sequence, and the layer does not say which; give it the length "
                "it is used on as max_kernel_length."
            )
        residues = normalised(step, A, W, length, epsilon)
    elif version.endswith("no-scale"):
        residues = W
    else:
        residues = W * torch.expm1(step) * A.conj() / A.abs().square().clamp_min(epsilon)
    tie = None
    if _single_step(kernel):
        reference = float(dt.min())
        generator = torch.exp(modes * reference)[None]
        poles = diagonal(generator, torch.zeros((1, *generator.shape), dtype=generator.dtype)).poles[0]
        tie = Tie(poles, torch.zeros(channels, dtype=torch.int64), dt[:, 0] / reference)
    return Heads(diagonal(torch.exp(step), residues), tie)


def _modes(values: Mapping[str, Tensor], version: str, largest: float) -> Tensor:
    """Return Lambda, ``(N,)`` complex128."""
    if "Lambda" in values:
        real, imaginary = values["Lambda"].unbind(-1)
        return torch.complex(real.clamp(max=largest) if version.startswith("clip") else real, imaginary)
    imaginary = values["Lambda_log_im"].exp() if "Lambda_log_im" in values else values["Lambda_im"]
    return torch.complex(-values["Lambda_log_neg_re"].exp(), imaginary)


def _version(module: nn.Module) -> str:
    kernel = module.get_submodule("kernel")
    version = str(getattr(kernel, "version", "softmax" if hasattr(kernel, "Lambda") else "exp"))
    if version not in VERSIONS:
        raise LayerError(f"its version {version!r} is none of {', '.join(VERSIONS)}; register a library that reads it.")
    return version


def _is_softmax(module: nn.Module) -> bool:
    return _version(module) == "softmax"


def _single_step(kernel: nn.Module) -> bool:
    """Return whether decays and frequencies of a channel have the same step, so that all channels' poles follow from one set."""
    log_dt = getattr(kernel, "log_dt").detach()  # noqa: B009  (registered at run time, unknown to type checkers)
    return bool(log_dt.ndim == 1 or (log_dt[:, :1] == log_dt).all())


def _stored(kernel: nn.Module) -> list[str]:
    return [name for name in ("log_dt", "W", *MODES) if isinstance(getattr(kernel, name, None), Tensor)]


def _longest(module: nn.Module) -> int | None:
    longest = getattr(module, "max_kernel_length", None)
    return int(longest) if isinstance(longest, int) and longest > 0 else None
