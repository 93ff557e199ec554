"""The kinds of kept results: outputs on samples, reductions, calibrated systems, trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.calibration import Calibrated, Matched
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.contract import COLUMNS
from ssm2edge.systems.system import ARRAYS, System
from ssm2edge.systems.tie import RULES, Tie

Array = NDArray[Any]

SHARED = ("generator", "group", "steps")


class Outputs:
    """A model's outputs by name, float32."""

    name = "outputs"

    def pack(self, value: dict[str, NDArray[np.float32]]) -> tuple[dict[str, Array], Any]:
        """Return one array per output; the record keeps their order."""
        return {str(index): array for index, array in enumerate(value.values())}, {"names": list(value)}

    def unpack(self, arrays: Mapping[str, Array], record: Any) -> dict[str, NDArray[np.float32]]:
        """See `pack`."""
        return {name: arrays[str(index)].astype(np.float32, copy=False) for index, name in enumerate(record["names"])}


class Reductions:
    """Reductions by layer."""

    name = "reductions"

    def pack(self, value: dict[str, Reduction]) -> tuple[dict[str, Array], Any]:
        """Return the arrays of every layer under its number."""
        arrays: dict[str, Array] = {}
        for index, reduction in enumerate(value.values()):
            arrays |= _of_system(index, reduction.system)
            arrays |= {f"{index}.{column}": getattr(reduction, column).numpy() for column in COLUMNS}
        layers = [
            {"name": name, "method": reduction.method, "order": reduction.order, "horizon": reduction.horizon}
            for name, reduction in value.items()
        ]
        return arrays, {"layers": layers}

    def unpack(self, arrays: Mapping[str, Array], record: Any) -> dict[str, Reduction]:
        """See `pack`."""
        return {
            layer["name"]: Reduction(
                system=_to_system(index, arrays),
                method=layer["method"],
                order=layer["order"],
                horizon=layer["horizon"],
                **{column: torch.from_numpy(arrays[f"{index}.{column}"]) for column in COLUMNS},
            )
            for index, layer in enumerate(record["layers"])
        }


class Calibrations:
    """Calibrated systems by layer, and the record of matching."""

    name = "calibration"

    def pack(self, value: Calibrated) -> tuple[dict[str, Array], Any]:
        """Return the systems under their numbers."""
        arrays: dict[str, Array] = {}
        for index, system in enumerate(value.systems.values()):
            arrays |= _of_system(index, system)
        arrays |= {f"around.{index}": tensor.numpy() for index, tensor in enumerate(value.around.values())}
        matched = None if value.matched is None else asdict(value.matched)
        return arrays, {"layers": list(value.systems), "matched": matched, "around": list(value.around), "reasons": value.reasons}

    def unpack(self, arrays: Mapping[str, Array], record: Any) -> Calibrated:
        """See `pack`."""
        matched = None if record["matched"] is None else Matched(**record["matched"])
        systems = {name: _to_system(index, arrays) for index, name in enumerate(record["layers"])}
        around = {name: torch.from_numpy(arrays[f"around.{index}"]) for index, name in enumerate(record["around"])}
        return Calibrated(systems, matched, around, record["reasons"])


class Weights:
    """Weights of a model by name."""

    name = "weights"

    def pack(self, value: dict[str, torch.Tensor]) -> tuple[dict[str, Array], Any]:
        """Return them under their numbers; the record keeps their names, and those of complex ones."""
        plain = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in value.values())
        arrays = {str(index): _real(tensor) for index, tensor in enumerate(plain)}
        return arrays, {"names": list(value), "complex": [name for name, tensor in value.items() if tensor.is_complex()]}

    def unpack(self, arrays: Mapping[str, Array], record: Any) -> dict[str, torch.Tensor]:
        """See `pack`."""
        held = {name: torch.from_numpy(arrays[str(index)]) for index, name in enumerate(record["names"])}
        return {name: torch.view_as_complex(x) if name in record["complex"] else x for name, x in held.items()}


def _of_system(index: int, system: System) -> dict[str, Array]:
    """Return the matrices and shared poles; complex ones as pairs of real numbers along a last axis."""
    arrays: dict[str, Array] = {f"{index}.{name}": _real(x) for name, x in zip(ARRAYS, system.arrays(), strict=False)}
    if system.tie is not None:
        shared = {name: getattr(system.tie, name) for name in SHARED}
        arrays |= {f"{index}.tie.{name}": _real(value) for name, value in shared.items()}
        arrays[f"{index}.tie.rule"] = np.array([RULES.index(system.tie.rule)])
    if system.after_sample:
        arrays[f"{index}.after_sample"] = np.array([True])
    return arrays


def _to_system(index: int, arrays: Mapping[str, Array]) -> System:
    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[f"{index}.{name}"])

    poles, B, C = (torch.view_as_complex(tensor(name)) for name in ("poles", "B", "C"))
    M = torch.view_as_complex(tensor("M")) if f"{index}.M" in arrays else None
    tie = None
    if f"{index}.tie.rule" in arrays:
        generator = torch.view_as_complex(tensor("tie.generator"))
        tie = Tie(generator, tensor("tie.group"), tensor("tie.steps"), RULES[int(arrays[f"{index}.tie.rule"][0])])
    return System(poles, B, C, tensor("D"), M, tie=tie, after_sample=f"{index}.after_sample" in arrays)


def _real(value: torch.Tensor) -> Array:
    return (torch.view_as_real(value.resolve_conj()) if value.is_complex() else value).numpy()
