"""Each reduced layer by itself: impulse and frequency response of its part of the graph, against the original's.

The nodes of one layer are cut out of ``offline.onnx`` and fed with impulses and sines, so that the checks measure the graph
that runs.  The distance of a reduced layer from the original is no fault.  A larger distance than at build time is one, and so
is another response than that of the built block, even at the same distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from ssm2edge.artifact import LayerResponses, Responses, SystemResponse
from ssm2edge.runtime import EdgeError
from ssm2edge.verification.check import Array, Check, relative_error, within
from ssm2edge.verification.parts import Layer
from ssm2edge.verification.subject import Subject

SMALL = 2.0**-10
"""Amplitude at which the linear part of layers with quadratic outputs is measured: the part odd in the signal's sign."""
SAMPLES_AT_ONCE = 1 << 22
"""Samples of all channels of the sequences that run together."""


def checks(subject: Subject) -> Iterator[tuple[str, Callable[[Subject], Check]]]:
    """Return the checks of every layer in the pack of responses, one set per call if it is called several times."""
    pack = subject.responses
    if pack is None:
        return
    try:
        calls = list(subject.model.layers)
    except EdgeError:
        return  # a graph that cannot be opened fails every check before these, with the reason
    for name, layer in pack.layers.items():
        for call in [call for call in calls if call == name or call.startswith(f"{name}@")] or [name]:
            measured = MeasuredLayer(subject, call, layer, pack)
            shown = call or "(the model)"
            yield f"impulse.{shown}", measured.impulse
            yield f"frequency.{shown}", measured.frequency
            yield f"block.{shown}", measured.block


class MeasuredLayer:
    """One call of a layer, measured on first use.

    Parameters
    ----------
    subject
        Artifact whose graph is measured.
    call
        Name of the layer in the graph.
    layer
        Its expected responses.
    pack
        Times and frequencies.
    """

    def __init__(self, subject: Subject, call: str, layer: LayerResponses, pack: Responses) -> None:
        self._subject, self._call, self._layer, self._pack = subject, call, layer, pack
        self._shown = call or "(the model)"

    @cached_property
    def found(self) -> SystemResponse:
        """Return the responses of the layer's part of the graph.

        Raises
        ------
        EdgeError
            If the graph does not name the layer's values, or its part cannot be cut out or run.
        """
        source, target = self._subject.model.layer_inputs.get(self._call), self._subject.model.layers.get(self._call)
        if source is None or target is None:
            raise EdgeError(f"The graph does not tell where {self._shown} is: build the artifact again.")
        return measure(Layer(self._subject.offline, source, target, threads=self._subject.threads), self._layer, self._pack)

    def impulse(self, subject: Subject) -> Check:
        """Check that the impulse response is no farther from the original's than at build time."""
        spans = np.diff(self._pack.times, append=self._pack.length).astype(np.float64)
        what = f"impulse response at {len(self._pack.times)} of {self._pack.length} samples"
        return self._against_original("impulse", np.sqrt(spans), what)

    def frequency(self, subject: Subject) -> Check:
        """Check that the frequency response is no farther from the original's than at build time."""
        what = f"response to {len(self._pack.frequencies)} sines of {self._pack.length} samples"
        return self._against_original("frequency", np.ones(1), what)

    def block(self, subject: Subject) -> Check:
        """Compare the responses with those of the built block."""
        limit = self._subject.limits.parity
        built, found = _joined(self._layer.reduced), _joined(self.found)
        errors = {name: relative_error({name: found[name]}, {name: value}) for name, value in built.items()}
        worst = max(errors, key=lambda name: errors[name])
        detail = "both responses against those of the block that was built"
        if errors[worst] > limit and found[worst].shape == built[worst].shape:
            output = np.unravel_index(np.argmax(np.abs(found[worst] - built[worst])), built[worst].shape)[1]
            detail += f"; the {worst} of output {output} is off"
        return within(f"block.{self._shown}", errors[worst], limit, detail)

    def _against_original(self, part: str, weights: Array, what: str) -> Check:
        original, built = getattr(self._layer.original, part), getattr(self._layer.reduced, part)
        found = getattr(self.found, part)
        limit = _distance(built, original, weights) + self._subject.limits.parity
        figure = _distance(found, original, weights) if found.shape == original.shape else np.inf
        return within(f"{part}.{self._shown}", figure, limit, f"{what} against the original layer's, root mean square; as built")


def measure(layer: Layer, wanted: LayerResponses, pack: Responses) -> SystemResponse:
    """Feed a layer with impulses and sines.

    Parameters
    ----------
    layer
        The layer's part of a graph.
    wanted
        Its directions, and its quadratic responses if it has any.
    pack
        Times and frequencies.
    """
    quadratic = wanted.reduced.quadratic
    directions = wanted.directions.astype(np.float32)
    outputs = wanted.reduced.impulse.shape[1]

    def linear(signals: Array) -> Array:
        if quadratic is None:
            return layer.run(signals)
        small = np.float32(SMALL) * signals
        found: Array = (layer.run(small) - layer.run(-small)) / np.float32(2 * SMALL)
        return found

    def impulses(run: Callable[[Array], Array], times: Array) -> Array:
        answers = []
        for direction in directions:
            signal = np.zeros((1, pack.length, len(direction)), np.float32)
            signal[:, 0] = direction
            answers.append(run(signal)[0, times].T)
        return np.stack(answers)

    # After n samples of exp(i w (n - 1 - k)) the last output is the sum of h[j] exp(i w j); its conjugate is the response.
    phases = 2 * np.pi * pack.frequencies[:, None] * np.arange(pack.length - 1, -1, -1)
    waves = np.stack((np.cos(phases), -np.sin(phases)), axis=1).reshape(-1, pack.length).astype(np.float32)
    rows = max(1, SAMPLES_AT_ONCE // (pack.length * max(directions.shape[1], outputs)))
    settled = [
        np.concatenate([linear(waves[i : i + rows, :, None] * direction)[:, -1] for i in range(0, len(waves), rows)])
        for direction in directions
    ]
    frequency = np.stack(settled).reshape(len(directions), len(pack.frequencies), 2, -1).transpose(0, 3, 1, 2)
    impulse = impulses(linear, pack.times)
    if quadratic is None:
        return SystemResponse(impulse, frequency)
    even = impulses(lambda signal: (layer.run(signal) + layer.run(-signal)) / 2, pack.times[: quadratic.shape[-1]])
    return SystemResponse(impulse, frequency, even)


def _joined(response: SystemResponse) -> Mapping[str, Array]:
    """Return the responses to impulses in one array, because their linear and quadratic parts are rounded together."""
    parts = [response.impulse, *([] if response.quadratic is None else [response.quadratic])]
    return {"impulse response": np.concatenate(parts, axis=-1), "frequency response": response.frequency}


def _distance(found: Array, original: Array, weights: Array) -> float:
    """Return the root mean square difference relative to the original's size."""
    weighted = weights if original.ndim == 3 else weights[:, None]
    size = float(np.linalg.norm(original.astype(np.float64) * weighted))
    error = float(np.linalg.norm((found.astype(np.float64) - original) * weighted))
    return error / size if size > 0 else error
