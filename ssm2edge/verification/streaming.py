"""The streaming graph against the whole-sequence graph.

The oracle is always the offline graph on the same samples from their beginning.  Outputs that run along time are compared in
full, of models that change the rate of time up to the last whole frame.  Running answers are compared at the last whole block:
with blocks of T samples, a stream of L samples must answer what the offline graph answers to its first T * floor(L / T) samples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import numpy as np

from ssm2edge.runtime import Stream
from ssm2edge.verification.check import Array, Check, relative_error, within
from ssm2edge.verification.signals import SIGNALS, with_signals
from ssm2edge.verification.subject import Inputs, Subject

ROWS = 4
"""Different streams in one batch."""

LONGEST = 1 << 14
"""Samples of held-out sequences that run more than once, at most: a stream takes them one block at a time."""


def fresh(subject: Subject) -> Check:
    """Check whole held-out sequences from the initial states, one block per push; running answers also on the way."""
    inputs = subject.held_out(16)
    length = subject.length(inputs)
    with subject.open_stream(_rows(inputs)) as stream:
        blocks = length // stream.block
        first = -(-subject.model.shortest // stream.block)
        stops = sorted({count * stream.block for count in (1, 2, blocks // 2, blocks) if first <= count <= blocks})
        if blocks == 0:
            detail = (
                f"{subject.samples} sequences of {length} samples do not fill one block of {stream.block}: nothing was compared"
            )
            return Check("streaming.fresh", None, subject.limits.streaming, False, detail)
        error, position, parts = 0.0, 0, []
        for stop in [*stops, length]:
            parts += [stream.push(subject.cut(inputs, *span)) for span in _spans(position, stop, stream.block)]
            position = stop
            if stop in stops:
                answer = {name: value for name, value in parts[-1].items() if subject.time_axes[name] is None}
                error = max(error, _against_offline(subject, subject.cut(inputs, 0, stop), answer, stream))
        parts.append(stream.flush())
        error = max(error, _against_offline(subject, inputs, _join(subject, parts), stream))
        count = f"{_rows(inputs)} {subject.samples}"
        detail = f"{count} sequences of {length} samples in blocks of {stream.block}, against the offline graph"
    return within("streaming.fresh", error, subject.limits.streaming, detail)


def carried(subject: Subject) -> Check:
    """Check states carried from one held-out sequence into the next against the offline graph on all of them in a row."""
    available = _part(subject, 16)
    rows = min(ROWS, _rows(available))
    inputs = subject.cut(_in_a_row(subject, available, rows), 0, subject.model.longest or sys.maxsize)
    with subject.open_stream(rows) as stream:
        error = _against_offline(subject, inputs, _stream(subject, stream, inputs), stream)
        # A reset must remove all of it.
        again = subject.cut(inputs, 0, subject.model.length or min(subject.length(inputs), 8 * stream.block))
        error = max(error, _against_offline(subject, again, _stream(subject, stream, again), stream))
    detail = f"{rows} streams of {subject.length(inputs)} samples, {subject.samples} sequences in a row, then reset and run again"
    return within("streaming.carried", error, subject.limits.streaming, detail)


def ragged(subject: Subject) -> Check:
    """Compare pushes of random sizes with whole blocks."""
    inputs = _part(subject, 2)
    length = subject.length(inputs)
    generator = np.random.default_rng(0)
    with subject.open_stream(_rows(inputs)) as stream:
        sizes = generator.integers(0, 3 * stream.block + 1, size=length + 1)
        outputs = _stream(subject, stream, inputs, sizes)
        error = _against_offline(subject, inputs, outputs, stream)
    detail = f"{length} samples in pushes of 0 to {3 * stream.block}, against the offline graph"
    return within("streaming.ragged", error, subject.limits.streaming, detail)


def rows(subject: Subject) -> Check:
    """Compare several streams in one batch with each alone, from different states."""
    inputs = _part(subject, ROWS)
    count = _rows(inputs)
    error = 0.0
    with subject.open_stream(count) as together, subject.open_stream(1) as alone:
        batch = _stream(subject, together, inputs)
        for row in range(count):
            single = _stream(subject, alone, {name: value[row : row + 1] for name, value in inputs.items()})
            error = max(error, relative_error(single, {name: value[row : row + 1] for name, value in batch.items()}))
    return within("streaming.rows", error, subject.limits.streaming, f"{count} streams in one batch against each alone")


def restored(subject: Subject) -> Check:
    """Check that a snapshot within a sequence and a block continues in another stream with the same bits."""
    inputs = _part(subject, 2)
    length = subject.length(inputs)
    middle = length // 2
    with subject.open_stream(_rows(inputs)) as stream, subject.open_stream(_rows(inputs)) as other:
        stream.push(subject.cut(inputs, 0, middle))
        other.restore(stream.snapshot())
        rest = subject.cut(inputs, middle, length)
        expected = _join(subject, [stream.push(rest), stream.flush()])
        actual = _join(subject, [other.push(rest), other.flush()])
        detail = f"snapshot after {middle} of {length} samples, restored into another stream"
        return within("streaming.restored", relative_error(actual, expected), 0.0, detail)


def lengths(subject: Subject) -> Check:
    """Check sequences of 1, 2, T - 1, T, T + 1 and 2 T + 1 samples."""
    inputs = subject.held_out(2)
    error = 0.0
    with subject.open_stream(_rows(inputs)) as stream:
        block = stream.block
        longest = subject.length(inputs)
        wanted = [x for x in subject.lengths((1, 2, block - 1, block, block + 1, 2 * block + 1)) if x <= longest]
        for length in wanted:
            part = subject.cut(inputs, 0, length)
            error = max(error, _against_offline(subject, part, _stream(subject, stream, part), stream))
    detail = f"lengths {', '.join(map(str, wanted))} in blocks of {block}, against the offline graph"
    return within("streaming.lengths", error, subject.limits.streaming, detail)


def probes(subject: Subject) -> Check | None:
    """Check artificial signals at full scale, each as one row beside a held-out sequence; None if no input is a signal."""
    held_out = subject.reference.inputs
    if not any(value.dtype.kind == "f" and subject.time_axes[name] is not None for name, value in held_out.items()):
        return None
    length = subject.model.length or min(1024, subject.length(held_out))
    inputs = with_signals(held_out, subject.time_axes, length)
    answers = subject.model.run(inputs).values()
    answered = np.all([np.isfinite(value).all(tuple(range(1, value.ndim))) for value in answers], axis=0)
    # A model without an answer to silence, say, need not stream one; other rows must have one.
    if subject.probes is not None and 0 < np.sum(~answered) <= _rows(inputs) - subject.probes.samples:
        inputs = {name: value[answered] for name, value in inputs.items()}
    with subject.open_stream(_rows(inputs)) as stream:
        error = _against_offline(subject, inputs, _stream(subject, stream, inputs), stream)
    detail = f"{', '.join(SIGNALS)} of {length} samples at full scale, against the offline graph"
    return within("streaming.probes", error, subject.limits.streaming, detail)


def _part(subject: Subject, rows: int) -> dict[str, Array]:
    """Return the first held-out inputs, long ones cut to a length that the graph takes."""
    return subject.cut(subject.held_out(rows), 0, subject.lengths((max(LONGEST, 4 * subject.block),))[0])


def _stream(subject: Subject, stream: Stream, inputs: Inputs, sizes: Iterable[int] | None = None) -> dict[str, Array]:
    """Return all outputs of a whole sequence from fresh states: along time in full, answers as of the last whole block."""
    stream.reset()
    length = subject.length(inputs)
    spans = _spans(0, length, stream.block) if sizes is None else _random_spans(length, sizes)
    parts = [stream.push(subject.cut(inputs, *span)) for span in spans]
    parts.append(stream.flush())
    return _join(subject, parts)


def _spans(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for position in range(start, stop, size):
        yield position, min(position + size, stop)


def _random_spans(length: int, sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    position = 0
    for size in sizes:
        yield position, min(position + int(size), length)
        position = min(position + int(size), length)
        if position == length:
            return


def _join(subject: Subject, parts: list[dict[str, Array]]) -> dict[str, Array]:
    outputs = {}
    for name in parts[-1]:
        axis = subject.time_axes[name]
        outputs[name] = parts[-1][name] if axis is None else np.concatenate([part[name] for part in parts], axis)
    return outputs


def _against_offline(subject: Subject, inputs: Inputs, outputs: dict[str, Array], stream: Stream) -> float:
    """Return the error of streamed outputs; along time up to the last whole frame, answers at the last whole block."""
    length, error = subject.length(inputs), 0.0
    timed = {name: value for name, value in outputs.items() if subject.time_axes[name] is not None}
    answers = {name: value for name, value in outputs.items() if subject.time_axes[name] is None}
    for found, unit in ((timed, stream.frame), (answers, stream.block)):
        whole = length // unit * unit
        if found and whole >= subject.model.shortest:
            expected = subject.model.run(subject.cut(inputs, 0, whole))
            error = max(error, relative_error(found, {name: expected[name] for name in found}))
    return error


def _in_a_row(subject: Subject, inputs: Inputs, rows: int) -> dict[str, Array]:
    """Return held-out sequences one after the other in each row, starting with a different one in each."""
    count = _rows(inputs)
    times = max(2, min(count // rows, 4))
    joined = {}
    for name, value in inputs.items():
        axis = subject.time_axes[name]
        picked = [np.concatenate([value[(row * times + turn) % count][None] for row in range(rows)]) for turn in range(times)]
        joined[name] = picked[0] if axis is None else np.concatenate(picked, axis)
    return joined


def _rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))
