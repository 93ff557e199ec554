"""Errors layer by layer: the first difference of a graph from the torch model, and the error of reduction so far."""

from __future__ import annotations

import numpy as np

from ssm2edge.artifact import LAYER
from ssm2edge.verification.check import Array, Check, LayerErrors, relative_error, within
from ssm2edge.verification.signals import spread
from ssm2edge.verification.subject import Subject


def probes(subject: Subject) -> Check | None:
    """Compare outputs on artificial signals with those of the reduced torch model; None without a pack of probes."""
    pack = subject.probes
    if pack is None:
        return None
    wanted = {name: value for name, value in pack.reduced.items() if not name.startswith(LAYER)}
    # An output that is almost nothing on artificial signals, such as a product over time, is no smaller than it usually is.
    error = relative_error(subject.model.run(dict(pack.inputs)), wanted, subject.reference.reduced)
    rows, length = pack.samples, subject.length(pack.inputs)
    detail = f"offline graph against the reduced torch model on {rows} artificial signals of {length} samples"
    return within("offline.probes", error, subject.limits.parity, detail)


def parity(subject: Subject) -> Check | None:
    """Compare every layer's output with the reduced torch model's; None if the graph does not name its layers."""
    errors = layer_errors(subject)
    if not errors:
        return None
    worst = max((np.inf if entry.parity is None else entry.parity) for entry in errors)
    limit = subject.limits.parity
    wrong = next((entry.name for entry in errors if entry.parity is None or entry.parity > limit), None)
    where = f"; the first that is off is {wrong or '(the model)'}" if wrong is not None else ""
    return within(
        "layers.parity", float(worst), limit, f"outputs of {len(errors)} layers against the reduced torch model's{where}"
    )


def layer_errors(subject: Subject) -> tuple[LayerErrors, ...]:
    """Return the errors of every layer that both the graph and the pack of probes name, in the graph's order."""
    pack = subject.probes
    if pack is None:
        return ()
    found = subject.layer_outputs
    return tuple(_errors(name, value, pack.reduced[LAYER + name], pack.original[LAYER + name]) for name, value in found.items())


def _errors(name: str, found: Array, reduced: Array, original: Array) -> LayerErrors:
    if found.ndim != 3 or reduced.ndim != 3 or reduced.shape != original.shape:
        return LayerErrors(name, None, None)
    # Graphs hold time before or after channels, whichever is faster.
    turned = found if found.shape[2] == reduced.shape[2] else np.swapaxes(found, 1, 2)
    turned = turned[:, spread(turned.shape[1], reduced.shape[1])]
    difference = relative_error({"": turned}, {"": reduced})
    if not np.isfinite(difference):
        return LayerErrors(name, None, None)
    size = float(np.sqrt(np.mean(original.astype(np.float64) ** 2)))
    error = float(np.sqrt(np.mean((turned.astype(np.float64) - original) ** 2)))
    return LayerErrors(name, difference, error / size if size > 0 and np.isfinite(error) else None)
