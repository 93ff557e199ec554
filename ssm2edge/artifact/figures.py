"""The numbers behind the report's charts, ``report.json``: small selections and quantiles of the results of a build.

The build writes it, ``report/`` draws it, and anyone may read it as JSON.  Frequencies are in cycles per sample, times in
samples, durations in seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.typed import parse, plain, typed

NAME = "report.json"
FIGURES_SCHEMA = 1
LARGEST = 16 << 20
"""Bytes of a file that is read."""


@dataclass(frozen=True)
class Pole:
    """Poles of the upper half plane that are near each other: their mean and how many they are."""

    re: float
    im: float
    count: int


@dataclass(frozen=True)
class Response:
    """One input-output pair of a layer, before and after reduction.

    Attributes
    ----------
    title
        The pair, and the reason for its choice.
    error
        Relative h2 error of a channel; relative error over the frequencies shown for a pair of a larger system.
    times
        Samples after the impulse, from 1 on; closer together at the start.
    impulse_before, impulse_after
        Impulse responses there.
    frequencies
        Cycles per sample, up to one half.
    gain_before, gain_after, gain_error
        Moduli of the frequency responses and of their difference.
    """

    title: str
    error: float
    times: tuple[int, ...]
    impulse_before: tuple[float, ...]
    impulse_after: tuple[float, ...]
    frequencies: tuple[float, ...]
    gain_before: tuple[float, ...]
    gain_after: tuple[float, ...]
    gain_error: tuple[float, ...]


@dataclass(frozen=True)
class LayerFigures:
    """The charts of one layer.

    Attributes
    ----------
    name
        As in the manifest.
    inputs, outputs
        Of each of its systems.
    quadratic
        True if outputs have quadratic parts, which responses do not show.
    errors
        Relative h2 errors of the systems, ascending; an even selection if there are very many.
    hankel_before, hankel_after
        Hankel singular values relative to the largest of each system: smallest, median and largest over the systems, each
        ``[order]``.
    poles_before, poles_after
        Of all systems together.
    responses
        The systems or pairs of the smallest, the median and the largest error.
    """

    name: str
    inputs: int
    outputs: int
    quadratic: bool
    errors: tuple[float, ...]
    hankel_before: tuple[tuple[float, ...], ...]
    hankel_after: tuple[tuple[float, ...], ...]
    poles_before: tuple[Pole, ...]
    poles_after: tuple[Pole, ...]
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class Share:
    """Time of the nodes of one kind that belong to one layer.

    Attributes
    ----------
    layer
        Its name; ``*`` for nodes that compute for several reduced layers at once, empty for the rest of the network.
    kind
        Operator, as onnxruntime runs it.
    seconds
        Of one call, all nodes together.
    nodes
        Their number.
    """

    layer: str
    kind: str
    seconds: float
    nodes: int


@dataclass(frozen=True)
class Profile:
    """The time of one call by layer and operator, measured by onnxruntime's profiler.

    Attributes
    ----------
    graph
        ``offline.onnx`` or ``stream.onnx``.
    calls
        Number of calls over which each node's time is the median.
    steps
        Time steps of a call.
    shares
        Longest first.
    """

    graph: str
    calls: int
    steps: int
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Figures:
    """The content of ``report.json``.

    Attributes
    ----------
    layers
        In the manifest's order.
    output_error, output_size
        Euclidean norm of the artifact's output error against the original, and of the original's outputs: root mean squares over
        held-out samples and time.
    profiles
        One per graph; empty if none was measured.
    schema
        Version of this layout.
    """

    layers: tuple[LayerFigures, ...]
    output_error: float
    output_size: float
    profiles: tuple[Profile, ...]
    schema: int = FIGURES_SCHEMA

    def save(self, folder: Path) -> None:
        """Write ``report.json``; equal figures give equal bytes.

        Raises
        ------
        ArtifactError
            If a figure is not finite.
        """
        try:
            text = json.dumps(plain(self), allow_nan=False, separators=(",", ":"), sort_keys=True)
        except ValueError as fault:
            raise ArtifactError(f"{NAME} cannot be written ({fault}).") from fault
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def load_figures(path: Path) -> Figures:
    """Read ``report.json``.

    Raises
    ------
    ArtifactError
        If it cannot be read, is too large, or differs from this layout.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as fault:
        raise ArtifactError(f"{path} cannot be read ({fault.strerror}).") from fault
    if len(content) > LARGEST:
        raise ArtifactError(f"{path} is larger than {LARGEST >> 20} MiB: build the artifact again.")
    value = parse(content, NAME)
    if not isinstance(value, dict) or type(value.get("schema")) is not int or value["schema"] != FIGURES_SCHEMA:
        raise ArtifactError(f"{path} is not of schema {FIGURES_SCHEMA}, which this version of ssm2edge draws: build it again.")
    figures = typed(Figures, value, NAME)
    assert isinstance(figures, Figures)
    return figures
