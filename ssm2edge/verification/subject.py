"""Subject of a verification: graphs, the reference pack, and the figures of the build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ssm2edge.artifact import LAYER, Accuracy, Artifact, Reference, Responses, held_out_synthetic
from ssm2edge.artifact.reference import first_output
from ssm2edge.runtime import Model, Stream
from ssm2edge.verification.check import Array

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class Limits:
    """Largest relative errors that pass, and the largest loss of accuracy or fit in points (hundredths); None for any loss.

    ``error`` is that of the outputs against the original's, root mean square; ``bytes`` are those of every graph, ``latency`` is
    that of a step of the stream here, in microseconds.
    """

    parity: float = 1e-4
    streaming: float = 1e-4
    drop: float | None = None
    error: float | None = None
    bytes: int | None = None
    latency: float | None = None


LIMITS = Limits()
"""Limits that the product promises."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Graphs under test; they need not be published yet.

    Attributes
    ----------
    offline, stream
        The ONNX files; ``stream`` is None if the model cannot stream.
    reference
        Held-out inputs and the torch models' outputs on them.
    spectral_radii
        By layer, the largest pole magnitude after reduction.
    recorded
        By output, the accuracies in the manifest, to be found again; empty before there are any.
    limits
        Limits of the checks.
    threads
        Threads within an operator.
    probes
        Artificial signals with the outputs of the torch models and their layers; None if they were not recorded.
    bound
        Bound on the output error in the manifest; None without one.
    responses
        Impulse and frequency responses of the layers before and after reduction; None if they were not recorded.
    samples
        Kind of the reference pack's inputs, for people: ``held-out``, or ``synthetic``.
    """

    offline: Path
    stream: Path | None
    reference: Reference
    spectral_radii: Mapping[str, float] = field(default_factory=dict)
    recorded: Mapping[str, Accuracy] = field(default_factory=dict)
    limits: Limits = LIMITS
    threads: int = 1
    probes: Reference | None = None
    bound: Mapping[str, Any] | None = None
    responses: Responses | None = None
    samples: str = "held-out"

    @classmethod
    def of(cls, artifact: Artifact, limits: Limits = LIMITS, threads: int = 1) -> Subject:
        """Return the subject of an opened artifact."""
        manifest = artifact.manifest
        radii = {layer.name: layer.spectral_radius for layer in manifest.layers}
        reference = artifact.reference
        recorded = {name or first_output(reference.original): value for name, value in manifest.judged.items()}
        return cls(
            artifact.offline, artifact.stream, reference, radii, recorded, limits, threads,
            artifact.probes, manifest.bound, artifact.responses, "synthetic" if held_out_synthetic(manifest) else "held-out",
        )  # fmt: skip

    @classmethod
    def staged(
        cls, folder: Path, reference: Reference, spectral_radii: Mapping[str, float], limits: Limits = LIMITS, threads: int = 1
    ) -> Subject:
        """Return the subject of a folder that is still being filled; its streaming graph is tested if it exists."""
        stream = folder / "stream.onnx"
        return cls(folder / "offline.onnx", stream if stream.exists() else None, reference, spectral_radii, {}, limits, threads)

    @cached_property
    def model(self) -> Model:
        """The offline graph, opened once."""
        return Model(self.offline, threads=self.threads, checks=False)

    @cached_property
    def outputs(self) -> dict[str, Array]:
        """The offline graph's outputs on all held-out inputs."""
        parts = [self.model.run(inputs) for inputs in self._portions()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def layer_outputs(self) -> dict[str, Array]:
        """Outputs of the offline graph's layers on the probes, by name, for layers in the pack of probes."""
        if self.probes is None:
            return {}
        known = self.probes.reduced
        values = {name: value for name, value in self.model.layers.items() if LAYER + name in known}
        if not values:
            return {}
        # A layer's output may be that of the whole model.
        inner = dict.fromkeys(value for value in values.values() if value not in self.time_axes)
        with Model(self.offline, threads=self.threads, exposed=tuple(inner), checks=False) as model:
            found = model.run(dict(self.probes.inputs))
        return {name: found[value] for name, value in values.items()}

    @cached_property
    def time_axes(self) -> dict[str, int | None]:
        """Time axis of every input and output by name."""
        return {port.name: port.time_axis for port in (*self.model.inputs, *self.model.outputs)}

    @cached_property
    def block(self) -> int:
        """Samples of a block of the stream."""
        with self.open_stream(1) as stream:
            return stream.block

    def open_stream(self, batch: int, *, endless: bool = False, checks: bool = False) -> Stream:
        """Open a fresh stream, if there is a streaming graph; an endless one takes more samples than the model holds for.

        Answers that are not finite are judged, not refused, unless the stream is timed as users run it.
        """
        assert self.stream is not None
        stream = Stream(self.stream, batch, threads=self.threads, checks=checks)
        if endless:
            stream.unbind()
        return stream

    def check_name(self, metric: str, output: str) -> str:
        """Return the name of the check that judges an output: the metric alone if only the first output has labels."""
        return metric if self.reference.one_head else f"{metric}.{output}"

    def held_out(self, rows: int) -> dict[str, Array]:
        """Return the first held-out inputs, at most ``rows``."""
        return {name: value[:rows] for name, value in self.reference.inputs.items()}

    def length(self, inputs: Inputs) -> int:
        """Number of samples along time."""
        lengths = (value.shape[axis] for name, value in inputs.items() if (axis := self.time_axes[name]) is not None)
        return int(next(lengths))

    def lengths(self, wanted: Iterable[int]) -> list[int]:
        """Return the lengths nearest to the wanted ones that the offline graph takes, in order."""
        if self.model.length is not None:
            return [self.model.length]
        multiple, shortest = self.model.multiple, self.model.shortest
        return sorted({-(-max(length, shortest, 1) // multiple) * multiple for length in wanted})

    def cut(self, inputs: Inputs, start: int, stop: int) -> dict[str, Array]:
        """Return samples ``start`` to ``stop`` along time."""
        return {name: value[along(self.time_axes[name], start, stop)] for name, value in inputs.items()}

    def _portions(self) -> Iterator[dict[str, Array]]:
        # Memory stays small for any length, and short sequences run in batches.
        rows = max(1, 16384 // max(1, self.length(self.reference.inputs)))
        for start in range(0, self.reference.samples, rows):
            yield {name: value[start : start + rows] for name, value in self.reference.inputs.items()}


def along(axis: int | None, start: int, stop: int) -> tuple[slice, ...]:
    """Return the index of a part along time; of everything without a time axis."""
    return () if axis is None else (slice(None),) * axis + (slice(start, stop),)
