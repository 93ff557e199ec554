"""Artificial signals, which held-out samples never contain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ssm2edge.verification.check import Array

SIGNALS = ("zeros", "an impulse", "a step", "a sine", "a burst and silence", "noise")


def probe_signals(length: int) -> Array:
    """Return signals of magnitude one, ``[signals, length]`` float64, in the order of `SIGNALS`."""
    time = np.arange(length)
    generator = np.random.default_rng(1)
    noise = generator.uniform(-1.0, 1.0, length)
    burst = np.where(time < max(1, length // 8), generator.uniform(-1.0, 1.0, length), 0.0)
    return np.stack([np.zeros(length), (time == 0) * 1.0, np.ones(length), np.sin(0.1 * time), burst, noise])


def spread(length: int, kept: int) -> Array:
    """Return positions of ``kept`` samples spread over ``length``, with the first and the last; all if there are no more."""
    return np.arange(length) if kept >= length else np.linspace(0, length - 1, kept).round().astype(np.int64)


def with_signals(held_out: Mapping[str, Array], time_axes: Mapping[str, int | None], length: int) -> dict[str, Array]:
    """Return the first held-out sequence, cut, and one row for each signal.

    Parameters
    ----------
    held_out
        Held-out inputs; inputs that are no signals (classes, or without time) take held-out values in every row.
    time_axes
        Of every input.
    length
        Samples of each row.
    """
    signals = probe_signals(length)
    inputs = {}
    for name, value in held_out.items():
        axis = time_axes[name]
        part = shortened(value, length) if axis is None else value[(slice(None),) * axis + (slice(0, length),)]
        rows = np.array(part[np.arange(len(signals) + 1) % len(part)])
        if axis is not None and value.dtype.kind == "f":
            scale = float(np.abs(value).max()) or 1.0
            shape = [len(signals)] + [1] * (value.ndim - 1)
            shape[axis] = length
            rows[1:] = (scale * signals.reshape(shape)).astype(value.dtype)
        inputs[name] = rows
    return inputs


def shortened(value: Array, length: int) -> Array:
    """Return an input without time for sequences cut to a length; whole numbers may be lengths and are cut with them."""
    return np.minimum(value, length) if value.ndim == 1 and value.dtype.kind in "iu" else value
