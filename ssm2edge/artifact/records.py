"""The manifest as values: sources, layers, figures and files of a build.

Every class is a JSON object with exactly these keys.  Times are in seconds, sizes in bytes, accuracies from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssm2edge.artifact.device_records import DeviceGraphRecord, DeviceRecord
from ssm2edge.artifact.latency_records import Latency, OriginalRecord

SCHEMA = 3
"""Version of the manifest; raised whenever a key that must be there is added, or one is removed or changes its meaning."""


@dataclass(frozen=True)
class Source:
    """The source of a build.

    Attributes
    ----------
    path
        Model directory or file, as the user gave it.
    factory
        ``file.py:function`` or ``package.module:function``.
    sha256
        Hash of every file read, by name.
    weights
        Hash of the model's parameters, whatever their names and file; None in artifacts of earlier versions.
    """

    path: str
    factory: str
    sha256: Mapping[str, str]
    weights: str | None = None


@dataclass(frozen=True)
class RealisedRecord:
    """The realisation of a layer's system from its impulse response.

    Attributes
    ----------
    taps
        Length of the response.
    error
        Root of the energy of the difference over all taps, relative to the response's own.
    repaired
        Channels whose plain realisation had poles on or outside the unit circle.
    """

    taps: int
    error: float
    repaired: int


@dataclass(frozen=True)
class KeptLayer:
    """A known layer that is not linear and time-invariant and stays as it is: its path, its kind, and the reason."""

    name: str
    library: str
    reason: str


@dataclass(frozen=True)
class LayerRecord:
    """One reduced layer.

    Attributes
    ----------
    name
        Path of the layer in the model, ``layers.0``.
    library
        Library of the layer.
    kind
        Shape of the system: ``siso`` (a bank of channels), ``mimo``, with quadratic outputs ``lqo``.
    channels
        Independent systems in the layer.
    order_before, order_after
        Real states per system.
    horizon
        Taps of the norm; None for the infinite horizon.
    h2_error, h2_error_relative
        Norm of the difference over the whole layer, and relative to the norm of the original.  The error of a realisation is a
        part of it.
    spectral_radius
        Largest pole magnitude after reduction.
    outcomes
        Outcomes of the reductions, and the number of channels with each.
    realised
        The realisation of the original system from the layer's impulse response; None if the system was read exactly.
    spectral_radius_before
        Largest pole magnitude of the original; left out by versions that took stable layers only.
    """

    name: str
    library: str
    kind: str
    channels: int
    order_before: int
    order_after: int
    horizon: int | None
    h2_error: float
    h2_error_relative: float
    spectral_radius: float
    outcomes: Mapping[str, int]
    realised: RealisedRecord | None = None
    spectral_radius_before: float = field(default=0.0, metadata={"optional": True})


@dataclass(frozen=True)
class Parameters:
    """Real parameters, of the SSM parts alone and of the whole model, before and after."""

    ssm_before: int
    ssm_after: int
    model_before: int
    model_after: int


@dataclass(frozen=True)
class Accuracy:
    """The metric of one output on the held-out samples: share of right answers, or NRMSE of predictions."""

    original: float
    artifact: float
    samples: int


@dataclass(frozen=True)
class SelectionRecord:
    """The choice of the size on samples that judge nothing else.

    Attributes
    ----------
    kind
        ``drop`` of the metric, or ``error`` of the outputs.
    samples
        By which the size was chosen.
    states, of
        States that were kept, and all that there were.
    loss, bound
        On these samples, and its upper confidence bound: points of the metric, or hundredths of the outputs; None where no
        smaller model could be shown to hold.
    confidence
        Of the bound for whichever size is chosen.
    looks
        Sizes that were compared.
    smaller, needed
        The smallest size that holds on these samples and could not be shown to, and the number of samples that might show it.
    """

    kind: str
    samples: int
    states: int
    of: int
    loss: float | None
    bound: float | None
    confidence: float
    looks: int
    smaller: int | None = None
    needed: int | None = None

    @property
    def sentence(self) -> str:
        """The choice, for people."""
        unit = "points" if self.kind == "drop" else "% of the outputs"
        if self.loss is None:
            chosen = f"No smaller model is shown to hold on the {self.samples:,} samples that chose: all states are kept"
        else:
            chosen = (
                f"Chosen on {self.samples:,} other samples: with {self.states:,} of {self.of:,} states the {self.kind} is "
                f"{self.loss:.2f} {unit} there, at most {self.bound:.2f} with a confidence of {100 * self.confidence:g} % "
                f"({self.looks} sizes compared)"
            )
        if self.needed is None:
            return f"{chosen}."
        return f"{chosen}; {self.smaller:,} states hold on them, too, which about {self.needed:,} samples would show."


@dataclass(frozen=True)
class GraphCost:
    """Cost of one call of a graph: one sequence of the held-out length, or one block.

    Attributes
    ----------
    nodes
        Nodes that depend on the inputs, bodies of loops counted once.
    multiply_adds
        Of matrix products, convolutions, recurrences and elementwise products.
    weights
        Bytes of the numbers that the file stores, by their kind: ``float32``, ``float16``, ``int8``, ``int4``, ...; left out by
        versions that did not count them.
    """

    nodes: int
    multiply_adds: int
    weights: Mapping[str, int] = field(default_factory=dict, metadata={"optional": True})

    @property
    def stored(self) -> int:
        """Bytes of all numbers that the file stores: the rest of it is the graph."""
        return sum(self.weights.values())


@dataclass(frozen=True)
class WeightRecord:
    """A weight outside of the layers.

    Attributes
    ----------
    name
        Path of the parameter in the model.
    bits
        In which graphs store each of its numbers: 3, 4 or 8 for integers, 16 or 32 for floating-point numbers.
    numbers
        Count of its numbers.
    reason
        Why it has so many bits, in words.
    """

    name: str
    bits: int
    numbers: int
    reason: str


@dataclass(frozen=True)
class Streaming:
    """The streaming graph, or the reason for its absence.

    Attributes
    ----------
    available
        True if the model can run on blocks.
    block
        Samples per block; None if it cannot.
    reason
        Reason why it cannot; None if it can.
    """

    available: bool
    block: int | None
    reason: str | None


@dataclass(frozen=True)
class StateRecord:
    """One state of the streaming graph; shape without the batch axis."""

    input: str
    output: str
    shape: tuple[int, ...]
    initial: float


@dataclass(frozen=True)
class FileRecord:
    """A file of the artifact: its expected hash and size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes
    ----------
    tool
        Versions: ``ssm2edge``, ``torch``, ``onnx``, ``onnxruntime``, ...
    source
        The source of the build.
    options
        Options of the build; given again, they repeat it.
    layers
        One record per reduced layer, in the model's order.
    parameters
        Before and after.
    calibration
        Relative error of the outputs on held-back calibration samples before and after output matching, and the best step; None
        without matching.
    bound
        Bound on the output error with what it rests on; None if none was computed.
    task
        ``metric`` (``accuracy`` or ``nrmse``), ``metrics`` (by output, where several are judged), ``classes`` (names),
        ``front_end`` (what turns recordings into inputs), ``rate`` (samples a second of recordings), each where there is
        one; None without a task.
    accuracy
        Of the first output with labels; None without labels.
    parity
        Verdict on the graphs at build time, as `Verdict.to_json` gives it.
    latency
        None if it was not measured.
    original
        Device and latency of the original.
    costs
        By graph, ``offline`` and ``stream``: nodes and multiply-adds.
    streaming
        The streaming graph and its block, or the reason for its absence.
    states
        Of the streaming graph.
    kept_layers
        Known layers that cannot be reduced.
    files
        Every file but the manifest itself; `seal` fills it.
    schema
        Version of this layout.
    heads
        By output, where more than the first one are judged; left out otherwise.
    calibrated_on
        Numbers of sequences that the layers were calibrated on: ``samples``, the user's, and ``synthetic`` ones; left out without
        calibration.
    devices
        By target, the C form as it was last verified; left out otherwise.
    device_graphs
        By file, the graphs for other runtimes as they were last verified; left out otherwise.
    selection
        The choice of the size, where samples chose it; left out otherwise.
    lengths
        ``shortest`` and ``longest``: samples of the sequences that the graphs take; left out where there is no longest one.
    weights
        Weights outside of the layers that are stored as integers; where none became integers, those that are too small for it.
        Left out without.
    seal
        SHA-256 of the canonical form (sorted keys, no spaces) of all other entries: a changed figure is noticed.
    """

    tool: Mapping[str, str]
    source: Source
    options: Mapping[str, Any]
    layers: tuple[LayerRecord, ...]
    parameters: Parameters
    calibration: Mapping[str, float] | None
    bound: Mapping[str, Any] | None
    task: Mapping[str, Any] | None
    accuracy: Accuracy | None
    parity: Mapping[str, Any] | None
    latency: Latency | None
    original: OriginalRecord
    costs: Mapping[str, GraphCost]
    streaming: Streaming
    states: tuple[StateRecord, ...]
    kept_layers: tuple[KeptLayer, ...] = ()
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    schema: int = SCHEMA
    heads: Mapping[str, Accuracy] = field(default_factory=dict, metadata={"optional": True})
    calibrated_on: Mapping[str, int] = field(default_factory=dict, metadata={"optional": True})
    devices: Mapping[str, DeviceRecord] = field(default_factory=dict, metadata={"optional": True})
    device_graphs: Mapping[str, DeviceGraphRecord] = field(default_factory=dict, metadata={"optional": True})
    selection: SelectionRecord | None = field(default=None, metadata={"optional": True})
    lengths: Mapping[str, int] = field(default_factory=dict, metadata={"optional": True})
    weights: tuple[WeightRecord, ...] = field(default=(), metadata={"optional": True})
    seal: str = field(default="", compare=False, metadata={"optional": True})

    @property
    def judged(self) -> dict[str, Accuracy]:
        """Accuracies by output; the name is empty if only the first output has labels."""
        return dict(self.heads) or ({} if self.accuracy is None else {"": self.accuracy})

    def metric(self, head: str = "") -> str | None:
        """Return what an output is judged by; the empty name stands for the first one."""
        task = self.task or {}
        named = task.get("metrics")
        found = named.get(head) if isinstance(named, Mapping) else None
        return found or task.get("metric")

    def same_model(self, other: Manifest) -> bool:
        """Return True if both were built from a model with the same layers."""
        mine, its = ([(x.name, x.kind, x.channels, x.order_before) for x in one.layers] for one in (self, other))
        return mine == its
