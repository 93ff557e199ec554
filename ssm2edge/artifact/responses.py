"""The pack of responses: the answers of each layer, original and reduced, to impulses and sines.

Keys of the npz file: ``times``, ``frequencies``, and for every layer ``directions.<layer>`` and ``<which>.<response>.<layer>``
where *which* is ``original`` or ``reduced``, and *response* is ``impulse``, ``frequency`` or, of layers with quadratic outputs,
``quadratic``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssm2edge.artifact.arrays import Array, load_arrays, save_arrays, unknown_key
from ssm2edge.artifact.errors import ArtifactError

NAME = "responses.npz"

LARGEST_SIGNAL, LONGEST_RUN, MOST_SINES = 1 << 24, 1 << 14, 1 << 10
"""Samples of all channels of a run, samples of a run, and sines that a pack may ask for."""
PARTS = ("impulse", "frequency", "quadratic")


@dataclass(frozen=True, eq=False)
class SystemResponse:
    """The responses of one system.

    Attributes
    ----------
    impulse
        ``[directions, outputs, times]``, to an impulse in each direction.
    frequency
        ``[directions, outputs, frequencies, 2]``, real and imaginary parts of the response of a run of ``length`` samples,
        ``sum_k h[k] exp(-i w k)``, as settled by its last sample.
    quadratic
        ``[directions, outputs, first times]``: the part of quadratic outputs in the answer to an impulse; None without them.
    """

    impulse: Array
    frequency: Array
    quadratic: Array | None = None


@dataclass(frozen=True, eq=False)
class LayerResponses:
    """One layer before and after its reduction.

    Attributes
    ----------
    directions
        ``[directions, inputs]``: weights with which the inputs are driven together.
    original, reduced
        Of the original system, and of the built block.
    """

    directions: Array
    original: SystemResponse
    reduced: SystemResponse


@dataclass(frozen=True, eq=False)
class Responses:
    """The layers' responses.

    Attributes
    ----------
    times
        Samples after the impulse, ascending from 0 to ``length - 1``.
    frequencies
        Cycles per sample, from 0 to one half.
    layers
        By name.
    """

    times: Array
    frequencies: Array
    layers: Mapping[str, LayerResponses]

    def __post_init__(self) -> None:
        for name, value in (("times", self.times), ("frequencies", self.frequencies)):
            if value.ndim != 1 or value.size == 0 or not np.all(np.isfinite(value)) or np.any(value[1:] <= value[:-1]):
                raise ArtifactError(f"The {name} of {NAME} must be finite and ascend: build the artifact again.")
        if self.times.dtype.kind != "i" or self.times[0] != 0:
            raise ArtifactError(f"The times of {NAME} must be samples from 0 on: build the artifact again.")
        if self.length > LONGEST_RUN or len(self.frequencies) > MOST_SINES:
            raise ArtifactError(f"{NAME} asks for longer runs than are made: build the artifact again.")
        for name, layer in self.layers.items():
            if not self._fits(layer):
                raise ArtifactError(f"The responses of {name or '(the model)'} in {NAME} do not fit together: build it again.")

    @property
    def length(self) -> int:
        """Samples of a run."""
        return int(self.times[-1]) + 1

    def save(self, directory: Path) -> None:
        """Write the pack into a directory; equal arrays give equal bytes."""
        arrays = {"times": self.times, "frequencies": self.frequencies}
        for name, layer in self.layers.items():
            arrays[f"directions.{name}"] = layer.directions
            for which, response in (("original", layer.original), ("reduced", layer.reduced)):
                for part in PARTS:
                    value = getattr(response, part)
                    if value is not None:
                        arrays[f"{which}.{part}.{name}"] = value
        save_arrays(directory / NAME, arrays)

    def _fits(self, layer: LayerResponses) -> bool:
        if layer.directions.ndim != 2 or layer.original.impulse.ndim != 3 or 0 in layer.original.impulse.shape:
            return False
        count, outputs = layer.original.impulse.shape[:2]
        if len(layer.directions) != count or max(layer.directions.shape[1], outputs) * self.length > LARGEST_SIGNAL:
            return False
        impulse, frequency = (count, outputs, len(self.times)), (count, outputs, len(self.frequencies), 2)
        quadratics = [response.quadratic for response in (layer.original, layer.reduced)]
        sizes = {None if value is None else value.shape for value in quadratics}
        if len(sizes) != 1 or any(value is not None and value[..., :1].shape != (count, outputs, 1) for value in quadratics):
            return False
        arrays = [layer.directions, *(value for value in quadratics if value is not None)]
        for response in (layer.original, layer.reduced):
            if response.impulse.shape != impulse or response.frequency.shape != frequency:
                return False
            arrays += [response.impulse, response.frequency]
        return all(value.dtype.kind == "f" and bool(np.all(np.isfinite(value))) for value in arrays)


def load_responses(path: Path) -> Responses:
    """Read a pack of responses.

    Raises
    ------
    ArtifactError
        If the file is no archive of plain arrays (see :func:`ssm2edge.artifact.arrays.load_arrays`), or keys or shapes do not
        fit.
    """
    arrays = load_arrays(path)
    directions: dict[str, Array] = {}
    found: dict[str, dict[str, dict[str, Array]]] = {"original": {}, "reduced": {}}
    for key, value in arrays.items():
        which, _, rest = key.partition(".")
        part, dot, name = rest.partition(".")
        if which == "directions":
            directions[rest] = value
        elif which in found and part in PARTS and dot:
            found[which].setdefault(name, {})[part] = value
        elif key not in ("times", "frequencies"):
            raise unknown_key(path, key)
    try:
        layers = {
            name: LayerResponses(value, *(SystemResponse(**found[which][name]) for which in ("original", "reduced")))
            for name, value in directions.items()
        }
        if any(set(names) != set(layers) for names in found.values()):
            raise KeyError("directions")
        return Responses(arrays["times"], arrays["frequencies"], layers)
    except (KeyError, TypeError) as fault:
        raise ArtifactError(f"{path} lacks some of its arrays: build the artifact again.") from fault
