"""The S5 and S4 layers of the PyPI package lrnnx; its LRU is read as any other (``lru.py``).

Read in lrnnx 1.0.0, which imports only where its CUDA parts are built; the layers are recognised by their parameters.

S5 is stored in two ways.  ``models.lti.S5`` has modes ``-softplus(A[:, 0]) + i A[:, 1]``, a real B, a skip matrix that multiplies
from the right, and calls its own function for the discretisation (whose bilinear rule has the wrong sign of the step: it makes
stable modes unstable, and such layers are refused).  ``models.ltv.S5`` has modes ``A[:, 0] + i A[:, 1]``, a
complex B, a skip vector, and is time-invariant if it is called without integration timesteps.  Both read the state
after the sample, ``C x[k+1]``; the first has a full D, which absorbs the difference to paper form.

S4 and S4D hold the parameters of state-spaces/s4 (``s4_kernels.py``) beside a convolution ``layer`` that computes with them.  The
convolution emits ``C x[k+1]``; the skip D, gates and mixing are outside of it, in the forward of the layer, and stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.mimo_layer import ReducedMimoLayer
from ssm2edge.layers.s4_kernels import COMPLEX, LOW_RANK, SHARED, is_kernel, read_heads, stored
from ssm2edge.layers.weights import as_complex, check_finite
from ssm2edge.systems.discretisation import DISCRETISATIONS
from ssm2edge.systems.system import System, from_real_part, reading_after


class LrnnxS5Library:
    """Recognises both S5 layers by their parameters."""

    name = "lrnnx S5"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module itself has the parameters, in one of the two ways."""
        own = module._parameters
        values = {name: own.get(name) for name in ("A", "B", "C", "D", "log_dt")}
        shapes = [value.ndim if value is not None else 0 for value in values.values()]
        pairs = [value for name in ("A", "C") if (value := values[name]) is not None and value.shape[-1:] == (2,)]
        invariant = shapes == [2, 2, 3, 2, 1] and callable(getattr(module, "discretize_fn", None))
        return len(pairs) == 2 and (invariant or (shapes == [2, 3, 3, 1, 1] and hasattr(module, "discretization")))

    def kind(self, module: nn.Module) -> str:
        """Return MIMO."""
        return "MIMO"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before the features."""
        return (batch, length, len(module.get_parameter("D")))

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system of order twice the number of stored modes.

        Raises
        ------
        LayerError
            If a weight is not finite or of another shape, or the discretisation is unknown.
        """
        check_finite(module.named_parameters(recurse=False))
        A, B, C, D, log_dt = (module.get_parameter(name).detach().cpu().double() for name in ("A", "B", "C", "D", "log_dt"))
        C, step = as_complex(C), log_dt.exp() * getattr(module, "step_rescale", 1.0)
        if D.ndim == 2:
            poles, gains = _with_its_own_rule(module, torch.complex(-nn.functional.softplus(A[:, 0]), A[:, 1]), step)
            B, D = B.to(C), D.mT
        else:
            rule = DISCRETISATIONS.get(str(getattr(module, "discretization", None)))
            if rule is None:
                raise LayerError(f"its discretisation is none of {', '.join(DISCRETISATIONS)}; use one of these.")
            poles, gains = rule(as_complex(A), step)
            B, D = as_complex(B), torch.diag(D)
            C = 2 * C if getattr(module, "conj_sym", False) else C
        if B.shape != (len(poles), len(D)) or C.shape != (len(D), len(poles)):
            raise LayerError(
                f"its parameters have the names of an S5 layer but not the shapes: B {tuple(B.shape)}, C {tuple(C.shape)}, "
                f"D {tuple(D.shape)} for {len(poles)} modes."
            )
        B = gains[:, None] * B
        return {ONLY: reading_after(from_real_part(poles, B, C, D))}

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


@dataclass(eq=False)
class Filter:
    """Stands in place of an S4 layer's convolution, and calls the block that the layer itself holds."""

    layer: nn.Module
    heads: int
    swap_channels: bool

    def __call__(self, x: Tensor, **_: object) -> tuple[Tensor, None]:
        """Filter ``(batch, time, channels)`` to ``(batch, heads, channels, time)``, without a state."""
        u = torch.cat([x.mT] * self.heads, dim=1) if self.heads > 1 else x.mT
        y: Tensor = self.layer.get_submodule("block")(u)
        return y.reshape(y.shape[0], self.heads, -1, y.shape[-1]), None


class LrnnxS4Library:
    """Recognises S4 and S4D: the kernel's parameters on the layer itself, and a convolution that shares them."""

    name = "lrnnx S4"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the layer and the kernel of its convolution have the same parameters, and the skip stands outside."""
        convolution = module._modules.get("layer")
        kernel = getattr(convolution, "kernel", None)
        return (
            is_kernel(module)
            and is_kernel(kernel)
            and all(getattr(kernel, name) is getattr(module, name) for name in SHARED)
            and module._parameters.get("D") is not None
            and hasattr(convolution, "swap_channels")
        )

    def kind(self, module: nn.Module) -> str:
        """Return a bank of independent channels."""
        return "SISO bank"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to ``l_max`` samples, if the layer cuts its kernel there."""
        longest = getattr(module.get_submodule("layer"), "l_max", None)
        return range(1, longest + 1) if isinstance(longest, int) and longest > 0 else None

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time, unless the layer says otherwise."""
        channels = module.get_parameter("D").shape[1]
        return (batch, channels, length) if getattr(module, "transposed", True) else (batch, length, channels)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the discrete systems, float64; the skip stays outside.

        Raises
        ------
        LayerError
            If a parameter is at fault, or the layer has an unknown option.
        """
        convolution: Any = module.get_submodule("layer")
        length = getattr(convolution, "l_max", None)
        heads = read_heads(convolution.kernel, int(length) if isinstance(length, int) else None)
        return {ONLY: heads.bank(slice(None), torch.zeros(heads.system.batch_shape, dtype=torch.float64))}

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the kernel's tensors."""
        return {ONLY: stored(module)}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep the layer with its forward, arguments and answers; exchange its convolution for the block."""
        rebuilt = copy.deepcopy(module)
        convolution: Any = rebuilt.get_submodule("layer")
        for name in ("layer", *SHARED, *COMPLEX, LOW_RANK):
            if hasattr(rebuilt, name):
                delattr(rebuilt, name)
        rebuilt.add_module("block", blocks[ONLY])
        object.__setattr__(rebuilt, "layer", Filter(rebuilt, int(convolution.channels), bool(convolution.swap_channels)))
        return rebuilt


def _with_its_own_rule(module: nn.Module, modes: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    rule: Any = getattr(module, "discretize_fn")  # noqa: B009  (an attribute of the layer, unknown to type checkers)
    poles, gains = rule(modes, step, None)
    gains = gains if isinstance(gains, Tensor) else torch.full_like(poles, gains)
    return poles.to(torch.complex128), gains.to(torch.complex128)
