"""Error of predictions on the held-out samples, of the original and of the artifact, if labels are the true outputs."""

from __future__ import annotations

import numpy as np

from ssm2edge.artifact import Accuracy
from ssm2edge.verification.check import Array, Check
from ssm2edge.verification.paired import risen_error
from ssm2edge.verification.subject import Subject

AGREEMENT = 1e-3
"""Largest relative difference between the error in the manifest and the measured one: answers depend on rounding."""


def measure(subject: Subject, name: str) -> Accuracy | None:
    """Return the NRMSE of an output; None unless its labels are numbers of its shape ``[samples, ...]``."""
    labels, original = subject.reference.labels[name], subject.reference.original[name]
    if labels.dtype.kind != "f" or labels.shape != original.shape:
        return None
    return Accuracy(normalised_error(original, labels), normalised_error(subject.outputs[name], labels), len(labels))


def nrmse(subject: Subject, name: str, measured: Accuracy) -> Check:
    """Check that the rise is within its limit, and that the errors are those in the manifest.

    The figure is the loss of fit in points, 100 times the rise of the NRMSE.
    """
    drop = 100.0 * (measured.artifact - measured.original)
    labels = subject.reference.labels[name]
    answers = subject.reference.original[name], subject.outputs[name]
    # The interval of 95 % is that between bounds of 97.5 % on either side.
    high = risen_error(*answers, labels, size_of(labels), 0.975).bound
    low = -risen_error(*answers[::-1], labels, size_of(labels), 0.975).bound
    shown = f", 95 % interval {low:.2f} to {high:.2f}" if np.isfinite(high - low) else ""
    detail = (
        f"NRMSE of the original {measured.original:.4f}, of the artifact {measured.artifact:.4f} on {measured.samples} samples: "
        f"a loss of {drop:.2f} points of fit{shown}"
    )
    limit, recorded = subject.limits.drop, subject.recorded.get(name)
    passed = limit is None or drop <= limit
    if recorded is not None:
        pairs = ((recorded.original, measured.original), (recorded.artifact, measured.artifact))
        if recorded.samples != measured.samples or any(abs(stated - found) > AGREEMENT * found for stated, found in pairs):
            passed = False
            detail += f"; the manifest says {recorded.original:.4f} and {recorded.artifact:.4f} on {recorded.samples}"
    return Check(subject.check_name("nrmse", name), drop, limit, passed, detail)


def normalised_error(predicted: Array, true: Array) -> float:
    """Return the root mean square error over the standard deviation of the truth, or over its size if it is constant.

    Parameters
    ----------
    predicted, true
        Arrays of one shape.
    """
    wanted = true.astype(np.float64)
    error = np.sqrt(np.mean((predicted.astype(np.float64) - wanted) ** 2))
    return float(error / size_of(wanted))


def size_of(true: Array) -> float:
    """Return the standard deviation of true outputs, or their size if they are constant."""
    wanted = true.astype(np.float64)
    return float(np.std(wanted)) or float(np.sqrt(np.mean(wanted**2))) or 1.0
