"""Right answers on the held-out samples, of the original and of the artifact."""

from __future__ import annotations

import math

import numpy as np

from ssm2edge.artifact import Accuracy
from ssm2edge.verification.check import Array, Check
from ssm2edge.verification.subject import Subject


def measure(subject: Subject, name: str) -> Accuracy | None:
    """Return accuracies, from an output with class scores after its labels' axes; None without classes or such an output.

    Labels are one class a sample ``[samples]``, or one at each of its steps ``[samples, time]``.
    """
    labels, scores = subject.reference.labels[name], subject.reference.original[name]
    if labels.dtype.kind == "f" or scores.shape[:-1] != labels.shape:
        return None
    original, artifact = (float(np.mean(right)) for right in _right(subject, labels, name))
    return Accuracy(original, artifact, len(labels))


def accuracy(subject: Subject, name: str, measured: Accuracy) -> Check:
    """Check that the loss is within its limit, and that the accuracies are those in the manifest.

    The interval is for paired samples, whose steps are not independent of each other: the loss is the mean over the samples of
    the loss of each.
    """
    labels = subject.reference.labels[name]
    before, after = _right(subject, labels, name)
    count = len(labels)
    losses = (before.astype(np.float64) - after).reshape(count, -1).mean(axis=1)
    drop = 100.0 * float(losses.mean())
    margin = 196.0 * float(losses.std()) / math.sqrt(count)
    same = int(np.sum(np.argmax(subject.reference.original[name], axis=-1) == np.argmax(subject.outputs[name], axis=-1)))
    counted = f"{count} samples" if labels.ndim == 1 else f"{labels.size} labels of {count} samples"
    detail = (
        f"original {measured.original:.4f}, artifact {measured.artifact:.4f} on {counted}: a loss of {drop:.2f} points, "
        f"95 % interval {drop - margin:.2f} to {drop + margin:.2f}; {same} predictions are the original's"
    )
    limit, recorded = subject.limits.drop, subject.recorded.get(name)
    passed = limit is None or drop <= limit
    if recorded is not None:
        # The original's answers are in the pack; the artifact's may depend on rounding, which differs between processors.
        slack = max(1.0, 0.001 * labels.size) / labels.size + 1e-9
        agrees = (
            recorded.samples == count
            and abs(recorded.original - measured.original) < 1e-9
            and abs(recorded.artifact - measured.artifact) <= slack
        )
        if not agrees:
            passed = False
            detail += f"; the manifest says {recorded.original:.4f} and {recorded.artifact:.4f} on {recorded.samples}"
    return Check(subject.check_name("accuracy", name), drop, limit, passed, detail)


def _right(subject: Subject, labels: Array, name: str) -> tuple[Array, Array]:
    original, artifact = subject.reference.original[name], subject.outputs[name]
    return np.argmax(original, axis=-1) == labels, np.argmax(artifact, axis=-1) == labels
