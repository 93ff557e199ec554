"""Sentences on layers of which a figure in a table does not say enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssm2edge.artifact.records import LayerRecord, WeightRecord

LARGEST_FIT = 1e-2
"""Relative error of a realisation from which on a layer is shown in red."""


POOR_REDUCTION, DEVIATION = 0.5, 0.1
"""Relative h2 error of a layer, and relative difference of the outputs, from which on both are said in red."""


@dataclass(frozen=True)
class Note:
    """A sentence, and whether it is bad news."""

    sentence: str
    bad: bool = False


def poor_fit(name: str, taps: int, error: float) -> Note | None:
    """Return the note on a realised system that answers unlike its layer; None if it answers like it."""
    if error <= LARGEST_FIT:
        return None
    return Note(
        f"{name or '(the model)'} is {100 * error:.2g} % off before any reduction: no stable system of few states answers as it "
        f"does on {taps:,} taps. Leave it as it is, or name a state-space part of it (--lti).",
        bad=True,
    )


def unstable(name: str, radius: float, horizon: int | None) -> Note | None:
    """Return the note on an original with a pole on or outside the unit circle; None if it is stable."""
    if radius < 1:
        return None
    return Note(
        f"{name or '(the model)'} is not stable (a pole of modulus {radius:.6g}): a stable layer imitates it on "
        f"{'the' if horizon is None else f'{horizon:,}'} samples, and differs beyond."
    )


def poor_reduction(layers: Sequence[LayerRecord], deviation: float) -> Note | None:
    """Return the note on the layer that answers least like its original; None where the outputs show nothing of it.

    Calibration may leave a layer far off for white input, whose directions its own inputs hardly have: the outputs decide.

    Parameters
    ----------
    layers
        All reduced layers.
    deviation
        Largest difference of the outputs from the original's, relative to the largest output.
    """
    worst = max(layers, key=lambda layer: layer.h2_error_relative, default=None)
    if worst is None or worst.h2_error_relative < POOR_REDUCTION or deviation <= DEVIATION:
        return None
    error = worst.h2_error_relative
    further = f"off by {error:.3g} times its h2 norm, further than a layer of zeros"
    off = f"{error:.2g} of its h2 norm off" if error < 1 else further
    return Note(
        f"LARGE ERROR: {worst.name or '(the model)'} is {off}, and the outputs differ by up to {deviation:.2g} of the largest. "
        "Keep more states (--keep, --order).",
        bad=True,
    )


def nothing_rounded(precision: str, weights: Sequence[WeightRecord]) -> Note | None:
    """Return the note on a precision of integers at which no weight became one; None where some did, and for float32."""
    if precision == "float32" or any(weight.bits < 16 for weight in weights):
        return None
    reasons = list(dict.fromkeys(weight.reason for weight in weights)) or ["there is no matrix outside of the layers"]
    more = ", and others" if len(reasons) > 1 else ""
    return Note(f"--precision {precision} rounded no weight to integers: {reasons[0]}{more}.")


def notes(layer: LayerRecord) -> list[Note]:
    """Return the notes on a layer of a build."""
    found = [unstable(layer.name, layer.spectral_radius_before, layer.horizon)]
    if layer.realised is not None:
        found.append(poor_fit(layer.name, layer.realised.taps, layer.realised.error))
    repaired = layer.outcomes.get("repaired", 0)
    if repaired and layer.order_after == layer.order_before and layer.spectral_radius_before < 1:
        found.append(
            Note(
                f"{layer.name or '(the model)'}: the modes of {repaired} of {layer.channels} systems cancel beyond float32; as "
                f"many others stand in their place, {layer.h2_error_relative:.1e} off, which is what float32 allows."
            )
        )
    limited = layer.outcomes.get("limited", 0)
    if limited:
        found.append(
            Note(
                f"{layer.name or '(the model)'}: the modes of {limited} of {layer.channels} systems cancel beyond float32: at "
                f"{layer.order_after} states rounding limits their errors beside the number of states."
            )
        )
    return [note for note in found if note is not None]
