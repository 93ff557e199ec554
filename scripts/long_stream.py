"""A stream that never ends: noise, then silence, through stream.onnx.

    python scripts/long_stream.py build/digits [--noise 1000000] [--silence 1000000]

Prints the largest number seen in the layers' states, and how many numbers of all states are subnormal or not finite at the end;
exit code 1 if any is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import numpy as np

from ssm2edge.runtime import Stream

PORTION = 10_000
POOLED = ("mean", "sum", "cumsum")
"""Last parts of the names of states that count or add up samples."""


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--noise", default=1_000_000, show_default=True, help="Samples of unit noise.")
@click.option("--silence", default=1_000_000, show_default=True, help="Zeros after them.")
def main(directory: Path, noise: int, silence: int) -> None:
    """Push the samples and look at the states."""
    generator = np.random.default_rng(0)
    largest, start = 0.0, time.monotonic()
    with Stream(directory) as stream:
        (port,) = stream.inputs
        channels = int(port.shape[-1]) if isinstance(port.shape[-1], int) else 1
        for count, silent in ((noise, False), (silence, True)):
            for begin in range(0, count, PORTION):
                length = min(PORTION, count - begin)
                samples = np.zeros((1, length, channels), np.float32)
                if not silent:
                    samples += generator.standard_normal(samples.shape).astype(np.float32)
                stream.push(samples)
                states = {name: state for name, state in stream.states.items() if name.rpartition(".")[2] not in POOLED}
                largest = max(largest, *(float(np.abs(state).max()) for state in states.values()))
        states = stream.states
    tiny = np.finfo(np.float32).tiny
    subnormal = sum(int(((state != 0) & (np.abs(state) < tiny)).sum()) for state in states.values())
    unbounded = sum(int((~np.isfinite(state)).sum()) for state in states.values())
    click.echo(
        f"{noise:,} samples of noise, {silence:,} of silence in {time.monotonic() - start:.0f} s: largest state of a layer "
        f"{largest:.4g}, {subnormal} subnormal and {unbounded} non-finite numbers at the end"
    )
    sys.exit(1 if subnormal or unbounded else 0)


if __name__ == "__main__":
    main()
