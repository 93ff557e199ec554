"""The whole-sequence graph: against the reduced torch model, against the original, and against itself in other batches."""

from __future__ import annotations

import numpy as np

from ssm2edge.verification.check import Check, relative_error, within
from ssm2edge.verification.paired import root_mean_square_error
from ssm2edge.verification.signals import shortened
from ssm2edge.verification.subject import Subject

SIZES = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
"""Lengths around those of the chunks in which graphs compute."""


def parity(subject: Subject) -> Check:
    """Compare the graph with the reduced torch model on every held-out sample."""
    error = relative_error(subject.outputs, subject.reference.reduced)
    detail = f"offline graph against the reduced torch model on {subject.reference.samples} {subject.samples} samples"
    return within("offline.parity", error, subject.limits.parity, detail)


def allowed_error(subject: Subject) -> Check | None:
    """Check the outputs' error against the original's where the user set a limit, as the size was chosen by it."""
    limit = subject.limits.error
    if limit is None:
        return None
    names = list(subject.reference.original)
    before, after = (
        np.concatenate([found[name].reshape(len(found[name]), -1) for name in names], axis=1)
        for found in (subject.reference.original, subject.outputs)
    )
    error = root_mean_square_error(before, after)
    # Graphs compute in float32.
    detail = f"root mean square of the outputs' error on {len(before)} samples that chose nothing, relative to the original's"
    return within("offline.allowed_error", error, limit + subject.limits.parity, detail)


def output_error(subject: Subject) -> Check:
    """Measure the distance of the outputs from the original model's: the error of reduction, recorded without a limit."""
    error = relative_error(subject.outputs, subject.reference.original)
    squares = sum(
        float(np.sum((subject.outputs[name].astype(np.float64) - value) ** 2))
        for name, value in subject.reference.original.items()
        if subject.outputs[name].shape == value.shape
    )
    scale = sum(float(np.sum(value.astype(np.float64) ** 2)) for value in subject.reference.original.values())
    finite = bool(np.isfinite(error))
    relative = np.sqrt(squares / scale) if scale > 0 and finite else np.nan
    detail = (
        f"outputs against the original model's: largest difference {error:.3g}, root mean square {relative:.3g}, both relative"
    )
    return Check("offline.error", error if finite else None, None, finite, detail)


def batches(subject: Subject) -> Check:
    """Compare a batch with its rows alone."""
    inputs = subject.held_out(5)
    together = subject.model.run(inputs)
    rows = len(next(iter(inputs.values())))
    error = 0.0
    for row in range(rows):
        alone = subject.model.run({name: value[row : row + 1] for name, value in inputs.items()})
        error = max(error, relative_error(alone, {name: value[row : row + 1] for name, value in together.items()}))
    return within("offline.batches", error, subject.limits.parity, f"a batch of {rows} against its rows alone")


def lengths(subject: Subject) -> Check:
    """Check that every length gives finite outputs, and that an output along time does not depend on later samples.

    The second part applies to models that stream; others may look ahead.
    """
    inputs = subject.held_out(2)
    length = subject.length(inputs)
    sizes = [size for size in subject.lengths((*SIZES, length - 1)) if size <= length]
    whole = subject.model.run(inputs)
    error = 0.0
    for size in sizes:
        part = subject.cut(inputs, 0, size)
        outputs = subject.model.run(
            {name: shortened(x, size) if subject.time_axes[name] is None else x for name, x in part.items()}
        )
        for name, value in outputs.items():
            axis = subject.time_axes[name]
            if not np.all(np.isfinite(value)):
                error = np.inf
            elif axis is not None and subject.stream is not None:
                front = np.take(whole[name], np.arange(value.shape[axis]), axis)
                scale = float(np.abs(whole[name]).max()) or 1.0
                error = max(error, float(np.abs(value.astype(np.float64) - front).max(initial=0.0)) / scale)
    return within("offline.lengths", error, subject.limits.parity, f"lengths {', '.join(map(str, sizes))}: finite, and causal")
