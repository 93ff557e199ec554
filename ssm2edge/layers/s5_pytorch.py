"""The S5 layer of the PyPI package s5-pytorch: its ``S5``, alone or inside an ``S5Block``, and the ``S5SSM`` within.

    x[k] = pole x[k - 1] + (gain B)^degree u[k]        y[k] = Re(C x[k]) + D u[k]

All P modes are stored (Lambda), not one of each conjugate pair, and the output is the real part: 2 P real states.  Poles and
gains come from Lambda and exp(log_step) by zero-order hold or the bilinear rule; ``degree`` raises the input matrix element by
element.  B and C are stored whole, or as products of two thin factors (BP BH^T, CH^T CP), which no released version can make.

Indexing: the output reads the state after the sample, ``C x[k+1]``, and so does the system.  A bidirectional layer runs
the same modes over the reversed sequence as well: the first P columns of C read the one run, the others the reversed one, whose
output at k also includes the sample k.  D belongs to the first.

Read in s5-pytorch 0.2.1 and 0.1.9.  Release 0.2.0 pads the poles of its scan with zeros, so that its forward has no memory: its
layers are refused because they do not compute the system of their parameters.  Releases before 0.1.9 compile their
discretisation, which cannot be copied.  ``S5SSM`` takes one sequence ``(time, features)``; ``S5`` takes batches of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import DIRECTIONS, ONLY, LayerError
from ssm2edge.layers.mimo_layer import ReducedMimoLayer
from ssm2edge.layers.weights import as_complex, check_finite
from ssm2edge.systems.discretisation import DISCRETISATIONS
from ssm2edge.systems.system import System, from_real_part, reading_after

MATRICES = ("B", "C")
FACTORS = ("BH", "BP", "CH", "CP")
SETTINGS = ("discretize", "bidir", "liquid", "degree")


class ReducedS5(ReducedMimoLayer):
    """An S5 layer that consists of its blocks."""

    mends = MappingProxyType(
        {
            "step_scale": "add the logarithm of a constant scale to the layer's log_step before the build; scales that differ "
            "from sample to sample make the layer time-varying"
        }
    )


class S5PytorchLibrary:
    """Recognises the package's ``S5`` (an ``S5SSM`` under the name seq) and the ``S5SSM`` itself by their parameters."""

    name = "s5-pytorch"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module is an ``S5SSM``, or holds one under the name seq and nothing else."""
        return _is_ssm(module) or (_is_ssm(getattr(module, "seq", None)) and not module._parameters and len(module._modules) == 1)

    def kind(self, module: nn.Module) -> str:
        """Return MIMO, in both directions or one."""
        return "bidirectional MIMO" if _ssm(module).bidir else "MIMO"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return time before the features; an ``S5SSM`` takes one sequence."""
        features = len(_ssm(module).get_parameter("D"))
        return (length, features) if _is_ssm(module) else (batch, length, features)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system of order twice the number of stored modes, or two of them if the layer is bidirectional.

        Raises
        ------
        LayerError
            If the layer's discretisation is unknown, or a weight is not finite or of another shape.
        """
        ssm = _ssm(module)
        check_finite(ssm.named_parameters(recurse=False))
        rule = DISCRETISATIONS.get(getattr(ssm.discretize, "__name__", "").removeprefix("discretize_"))
        if rule is None:
            raise LayerError(
                f"its discretisation is neither zoh nor bilinear but {ssm.discretize}; use one of these (releases before 0.1.9 "
                "compile theirs: load the weights into a newer one)."
            )
        B, C = _matrices(ssm)
        D, modes, step = (ssm.get_parameter(name).cpu() for name in ("D", "Lambda", "log_step"))
        count, directions = len(modes), 2 if ssm.bidir else 1
        if B.shape != (count, len(D)) or C.shape != (len(D), directions * count) or step.shape != modes.shape:
            raise LayerError(
                f"its parameters have the names of an S5 layer but not the shapes: B {tuple(B.shape)}, C {tuple(C.shape)}, "
                f"D {tuple(D.shape)}, log_step {tuple(step.shape)} for {count} modes."
            )
        # In the layer's own precision: its float32 rounds exp(lambda dt) - 1 of a slow mode.
        poles, gains = (x.to(torch.complex128) for x in rule(modes, step.exp()))
        B = (gains[:, None] * B) ** ssm.degree
        skips = (torch.diag(D.double()), torch.zeros(len(D), len(D), dtype=torch.float64))
        systems = [
            reading_after(from_real_part(poles, B, part, skip))
            for part, skip in zip(torch.split(C, count, dim=1), skips, strict=False)
        ]
        return dict(zip(DIRECTIONS if ssm.bidir else (ONLY,), systems, strict=True))

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return all of the layer's own; the directions of a bidirectional one share them."""
        stored = list(module.parameters())
        return dict.fromkeys(DIRECTIONS if _ssm(module).bidir else (ONLY,), stored)

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Exchange the whole layer for its blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedS5(module, blocks, self.input_shape(module, 1, 2))


class LiquidS5:
    """Refuses the same modules made with ``liquid=True``."""

    name = "liquid S5"

    def matches(self, module: nn.Module) -> bool:
        """Return whether it is such a layer and its poles depend on its input."""
        return S5PytorchLibrary().matches(module) and bool(_ssm(module).liquid)

    def reason(self, module: nn.Module) -> str:
        """Return that the poles move."""
        return (
            "its poles move with its input, so that no linear time-invariant system describes it; train it with liquid=False to "
            "have it reduced."
        )


def _is_ssm(module: object) -> bool:
    if not isinstance(module, nn.Module) or not all(hasattr(module, name) for name in SETTINGS):
        return False
    own = module._parameters
    modes = own.get("Lambda")
    named = modes is not None and modes.is_complex() and all(own.get(name) is not None for name in ("D", "log_step"))
    return named and any(all(own.get(name) is not None for name in names) for names in (MATRICES, FACTORS))


def _ssm(module: nn.Module) -> Any:
    """Return the ``S5SSM``: the module itself, or the one inside."""
    return module if _is_ssm(module) else module.get_submodule("seq")


def _matrices(ssm: nn.Module) -> tuple[Tensor, Tensor]:
    if ssm._parameters.get("BH") is None:
        return as_complex(ssm.get_parameter("B")), as_complex(ssm.get_parameter("C"))
    BH, BP, CH, CP = (as_complex(ssm.get_parameter(name)) for name in FACTORS)
    return BP @ BH.mT, CH.mT @ CP
