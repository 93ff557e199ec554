"""Checks for streams of any length: poles inside the unit circle, finite states, no subnormal numbers."""

from __future__ import annotations

import math

import numpy as np

from ssm2edge.runtime import Stream
from ssm2edge.verification.check import Array, Check
from ssm2edge.verification.subject import Inputs, Subject

BURST = 512
LONGEST_SILENCE = 8192
TINY_BLOCKS = 64
"""Blocks of silence after a state was made tiny."""


def poles(subject: Subject) -> Check:
    """Check that every reduced layer is stable."""
    name, radius = max(subject.spectral_radii.items(), key=lambda item: item[1], default=("", 0.0))
    detail = f"largest spectral radius, in {name}" if name else "no layer was reduced"
    # The limit is strict: a pole on the circle does not decay.
    return Check("stability.poles", radius, 1.0, radius < 1.0, detail)


def silence(subject: Subject) -> Check | None:
    """Check the states after full-scale noise and zeros until the slowest pole underflows; None if no input is a signal.

    The processor's own flushing of subnormals is off here, so that the check sees the graph alone.
    """
    held_out = subject.held_out(1)
    if all(value.dtype.kind != "f" or subject.time_axes[name] is None for name, value in held_out.items()):
        return None
    generator = np.random.default_rng(2)
    radius = min(max(subject.spectral_radii.values(), default=0.0), 1.0 - 1e-9)
    # From magnitude one to below the smallest normal float32 takes 87.3 time constants; twice as long for large states.
    wanted = int(175 / -math.log(radius)) if radius > 0.0 else 0
    length = max(2048, min(wanted, LONGEST_SILENCE))
    with subject.open_stream(1, endless=True) as stream:
        block = stream.block
        stream.push(_samples(subject, held_out, max(block, BURST // block * block), generator))
        # A whole number of blocks, so that nothing is pending when states are read.
        after_burst = stream.snapshot()
        quiet = _samples(subject, held_out, max(block, length // block * block), None)
        outputs = stream.push(quiet)
        states = stream.states
        subnormal = {name: count for name, value in states.items() if (count := count_subnormal(value))}
        subnormal |= _left_tiny(stream, after_burst, _samples(subject, held_out, TINY_BLOCKS * block, None), generator)
    finite = all(np.all(np.isfinite(value)) for value in (*states.values(), *outputs.values()) if value.dtype.kind == "f")
    detail = f"{length} samples of silence after {BURST} of noise, and {TINY_BLOCKS} blocks after each state was made tiny: "
    if not finite:
        detail += "a state or output is not finite"
    elif subnormal:
        detail += f"subnormal numbers are left in {', '.join(subnormal)}"
    else:
        detail += "states are finite and none is subnormal"
    return Check("stability.silence", float(sum(subnormal.values())), 0.0, finite and not subnormal, detail)


def _left_tiny(stream: Stream, after_burst: bytes, quiet: Inputs, generator: np.random.Generator) -> dict[str, int]:
    """Return the subnormal elements of each state after it alone was set just above the smallest normal number.

    The slowest poles would take millions of samples to decay that far; a graph that lets a state become subnormal does so from
    there within a few samples.  Only the changed state counts: its share in other states never occurs by itself.
    """
    counts = {}
    for name, value in stream.states.items():
        if value.dtype.kind != "f":
            continue
        stream.restore(after_burst)
        signs = generator.choice([-1.0, 1.0], value.shape)
        stream.place(
            {name: (signs * generator.uniform(1.0, 1.0005, value.shape) * np.finfo(value.dtype).tiny).astype(value.dtype)}
        )
        stream.push(quiet)
        if count := count_subnormal(stream.states[name]):
            counts[name] = count
    return counts


def count_subnormal(value: Array) -> int:
    """Count subnormal elements by their bits: comparisons would see zeros on a processor set to flush them."""
    if value.dtype.kind != "f":
        return 0
    bits = np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}")
    mantissa = (1 << np.finfo(value.dtype).nmant) - 1
    exponent = ((1 << (8 * value.dtype.itemsize - 1)) - 1) & ~mantissa
    return int(np.count_nonzero(((bits & exponent) == 0) & ((bits & mantissa) != 0)))


def _samples(subject: Subject, held_out: Inputs, length: int, generator: np.random.Generator | None) -> dict[str, Array]:
    """Return noise at full scale, or zeros; inputs that are no signals keep their first held-out sample."""
    inputs = {}
    for name, value in held_out.items():
        axis = subject.time_axes[name]
        shape = list(value.shape)
        if axis is not None:
            shape[axis] = length
        if axis is None:
            inputs[name] = value
        elif value.dtype.kind != "f":
            inputs[name] = np.repeat(np.take(value, [0], axis), length, axis)
        elif generator is None:
            inputs[name] = np.zeros(shape, value.dtype)
        else:
            scale = float(np.abs(subject.reference.inputs[name]).max()) or 1.0
            inputs[name] = (scale * generator.uniform(-1.0, 1.0, shape)).astype(value.dtype)
    return inputs
