"""The error measured on held-out samples against its certified bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssm2edge.verification.check import Array, Check, within
from ssm2edge.verification.subject import Subject


def certified(subject: Subject) -> Check | None:
    """Check that no held-out sample's error exceeds the bound; None without a bound for their length."""
    stated: Any = (subject.bound or {}).get("certified")
    proof: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    limit, horizon = proof.get("value"), proof.get("horizon")
    if not isinstance(limit, float | int) or (isinstance(horizon, int) and horizon < subject.length(subject.reference.inputs)):
        return None
    names = [name for name in subject.reference.original if subject.outputs[name].shape == subject.reference.original[name].shape]
    squares = sum((_squares(subject, name, subject.outputs[name]) for name in names), np.zeros(subject.reference.samples))
    sizes = sum((_squares(subject, name, None) for name in names), np.zeros(subject.reference.samples))
    error = float(np.sqrt(squares.max()))
    # The bound holds in exact arithmetic; the graph may differ from it by the limit of parity.
    slack = subject.limits.parity * float(np.sqrt(sizes.max()))
    count = f"{subject.reference.samples} {subject.samples}"
    detail = f"largest error of {count} samples, root mean square over time, against the certified bound"
    return within("bound.certified", error, float(limit) + slack, detail)


def _squares(subject: Subject, name: str, found: Array | None) -> Array:
    """Return the squared norm of each sample's error, or of the original itself: its mean over time for outputs along time."""
    original = subject.reference.original[name].astype(np.float64)
    difference = original if found is None else found.astype(np.float64) - original
    axis = subject.time_axes[name]
    squares: Array = np.sum(difference.reshape(len(difference), -1) ** 2, axis=1)
    return squares if axis is None else np.asarray(squares / original.shape[axis])
