"""What must hold however long a stream runs: poles inside the unit circle, states finite, and none left subnormal."""

from __future__ import annotations

import math

import numpy as np

from ssm2edge.verification.check import Array, Check
from ssm2edge.verification.subject import Subject

BURST = 512
LONGEST_SILENCE = 32768


def poles(subject: Subject) -> Check:
    """Every reduced layer is stable."""
    name, radius = max(subject.spectral_radii.items(), key=lambda item: item[1], default=("", 0.0))
    detail = f"largest spectral radius, in {name}" if name else "no layer was reduced"
    # The limit is strict: a pole on the circle does not decay.
    return Check("stability.poles", radius, 1.0, radius < 1.0, detail)


def silence(subject: Subject) -> Check | None:
    """Full-scale noise, then zeros for as long as the slowest pole needs to underflow; None if no input is a signal.

    The processor's own flushing of subnormals is off here, so that what is seen is the graph's doing.
    """
    held_out = subject.held_out(1)
    if all(value.dtype.kind != "f" or subject.time_axes[name] is None for name, value in held_out.items()):
        return None
    generator = np.random.default_rng(2)
    radius = min(max(subject.spectral_radii.values(), default=0.0), 1.0 - 1e-9)
    # From magnitude one to below the smallest normal float32 takes 87.3 time constants; twice as long for large states.
    wanted = int(175 / -math.log(radius)) if radius > 0.0 else 0
    length = max(2048, min(wanted, LONGEST_SILENCE))
    with subject.open_stream(1) as stream:
        block = stream.block
        for _ in range(max(1, BURST // block)):
            stream.push(_samples(subject, held_out, block, generator))
        quiet = _samples(subject, held_out, block, None)
        for _ in range(max(1, length // block)):
            outputs = stream.push(quiet)
        states = stream.states
    finite = all(np.all(np.isfinite(value)) for value in (*states.values(), *outputs.values()) if value.dtype.kind == "f")
    subnormal = {name: count for name, value in states.items() if (count := count_subnormal(value))}
    detail = f"{length} samples of silence after {BURST} of noise: "
    if not finite:
        detail += "a state or output is not finite"
    elif subnormal:
        detail += f"subnormal numbers are left in {', '.join(subnormal)}"
    else:
        detail += "states are finite and none is subnormal"
    return Check("stability.silence", float(sum(subnormal.values())), 0.0, finite and not subnormal, detail)


def count_subnormal(value: Array) -> int:
    """Number of subnormal elements, read from the bits: comparisons would see zeros on a processor set to flush them."""
    if value.dtype.kind != "f":
        return 0
    bits = np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}")
    mantissa = (1 << np.finfo(value.dtype).nmant) - 1
    exponent = ((1 << (8 * value.dtype.itemsize - 1)) - 1) & ~mantissa
    return int(np.count_nonzero(((bits & exponent) == 0) & ((bits & mantissa) != 0)))


def _samples(subject: Subject, held_out: dict[str, Array], block: int, generator: np.random.Generator | None) -> dict[str, Array]:
    """One block: noise at full scale, or zeros; inputs that are no signals keep their first held-out sample."""
    inputs = {}
    for name, value in held_out.items():
        axis = subject.time_axes[name]
        shape = list(value.shape)
        if axis is not None:
            shape[axis] = block
        if axis is None:
            inputs[name] = value
        elif value.dtype.kind != "f":
            inputs[name] = np.repeat(np.take(value, [0], axis), block, axis)
        elif generator is None:
            inputs[name] = np.zeros(shape, value.dtype)
        else:
            scale = float(np.abs(subject.reference.inputs[name]).max()) or 1.0
            inputs[name] = (scale * generator.uniform(-1.0, 1.0, shape)).astype(value.dtype)
    return inputs
