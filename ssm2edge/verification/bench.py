"""Speed of an artifact on this machine: latency distributions, throughput, real-time factor, memory, start, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from ssm2edge.artifact import Ratio
from ssm2edge.errors import UserError
from ssm2edge.runtime import EdgeError
from ssm2edge.verification.check import Array
from ssm2edge.verification.environment import Environment, environment
from ssm2edge.verification.latency import Comparison, interleaved
from ssm2edge.verification.memory import Start, measure_start
from ssm2edge.verification.sessions import openers
from ssm2edge.verification.subject import Subject

ROUNDS = 300
"""Timings of each candidate; the 99th percentile of fewer is hardly more than the largest."""

WALL_SLICE = 1e-4
"""Seconds of one timing: about one call, so that percentiles are those of calls and not of means."""

BATCHES = (1, 8, 32)

Call = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """One graph, or a model that is no artifact, in one setting.

    Attributes
    ----------
    name
        ``offline``, ``stream``, ``original``, ...; for other artifacts, preceded by their directory's name.
    threads
        Threads within an operator.
    batch, samples
        Sequences of a call, and time steps of each.
    p50, p90, p99
        Percentiles of the wall time of a call, in seconds.
    throughput
        Time steps per second, of all sequences of a call together, at the median.
    real_time
        Seconds of signal per second of computing, for one sequence; None without a sample rate.
    against
        Latency relative to the first graph of its comparison, with its interval; None for that graph itself.
    rounds
        Timings taken.
    """

    name: str
    threads: int
    batch: int
    samples: int
    p50: float
    p90: float
    p99: float
    throughput: float
    real_time: float | None
    against: Ratio | None
    rounds: int


@dataclass(frozen=True)
class Bench:
    """All measurements of one run.

    Attributes
    ----------
    timed
        One entry per graph and setting.
    starts
        By graph: load time and memory.
    environment
        Machine and libraries.
    """

    timed: tuple[Timed, ...]
    starts: Mapping[str, Start]
    environment: Environment

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "timed": [asdict(entry) for entry in self.timed],
            "starts": {name: asdict(start) for name, start in self.starts.items()},
            "environment": asdict(self.environment),
        }


def bench(
    subject: Subject,
    *,
    against: Mapping[str, Subject] | None = None,
    original: Callable[[Mapping[str, Array]], Call] | None = None,
    threads: tuple[int, ...] = (1,),
    sample_rate: float | None = None,
    rounds: int = ROUNDS,
    budget: float = 10.0,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Measure an artifact.

    Parameters
    ----------
    subject
        Its graphs; its first held-out sequences are the input of all.
    against
        Other artifacts of the same inputs, by name, timed in turns with this one.
    original
        Makes the call of the original model on inputs, timed in turns on one sequence with one thread.
    threads
        Settings to measure.
    sample_rate
        Samples per second of the signals, for the real-time factor.
    rounds, budget
        Timings of each candidate, and seconds after which a comparison takes no further round.
    progress
        Called with the name of each measurement.

    Raises
    ------
    UserError
        If another artifact cannot run on these inputs.
    """
    report = progress if progress is not None else lambda step: None
    others = {} if against is None else dict(against)
    timed: list[Timed] = []
    for count in threads:
        ours = _with_threads(subject, count)
        theirs = {name: _with_threads(other, count) for name, other in others.items()}
        for graph in ("offline", "stream") if subject.stream is not None else ("offline",):
            report(f"{graph}, {count} thread{'s' if count > 1 else ''}")
            timed += _compared(ours, theirs, graph, sample_rate, rounds, budget)
        if original is not None and count == 1:
            report("the original")
            timed.append(_original(ours, original, sample_rate, rounds, budget))
        for batch in BATCHES[1:]:
            if batch <= subject.reference.samples:
                report(f"batches of {batch}, {count} thread{'s' if count > 1 else ''}")
                timed += _batch(ours, batch, sample_rate, max(20, rounds // 5), budget / 3)
    report("memory")
    inputs = subject.held_out(1)
    graphs = ("offline", "stream") if subject.stream is not None else ("offline",)
    starts = {graph: measure_start(subject, graph, inputs) for graph in graphs}
    return Bench(tuple(timed), starts, environment(max(threads)))


def _compared(
    subject: Subject,
    others: Mapping[str, Subject],
    graph: str,
    sample_rate: float | None,
    rounds: int,
    budget: float,
) -> list[Timed]:
    inputs = subject.held_out(1)
    with ExitStack() as stack:
        calls: dict[str, Call] = {graph: stack.enter_context(openers(subject, inputs)[graph]())}
        for name, other in others.items():
            found = openers(other, inputs).get(graph)
            if found is None:
                continue
            try:
                calls[f"{name} {graph}"] = stack.enter_context(found())
                calls[f"{name} {graph}"]()
            except EdgeError as fault:
                raise UserError(
                    f"{name} cannot run on the inputs of this artifact ({fault}): compare versions of one model."
                ) from fault
        compared = interleaved(calls, baseline=graph, rounds=rounds, budget=budget, shortest=WALL_SLICE)
    samples = subject.length(inputs)
    if graph == "stream":
        with subject.open_stream(1) as stream:
            samples = stream.block
    return [_timed(compared, name, graph, subject.threads, 1, samples, sample_rate) for name in calls]


def _original(
    subject: Subject, original: Callable[[Mapping[str, Array]], Call], sample_rate: float | None, rounds: int, budget: float
) -> Timed:
    """Time the original in a comparison of its own: it may take a hundred times longer, and would leave the others few rounds."""
    inputs = subject.held_out(1)
    calls: dict[str, Call] = {"offline": lambda: subject.model.run(inputs), "original": original(inputs)}
    compared = interleaved(calls, baseline="offline", rounds=rounds, budget=budget, shortest=WALL_SLICE)
    return _timed(compared, "original", "offline", 1, 1, subject.length(inputs), sample_rate)


def _batch(subject: Subject, batch: int, sample_rate: float | None, rounds: int, budget: float) -> list[Timed]:
    inputs = subject.held_out(batch)
    compared = interleaved(
        {"offline": lambda: subject.model.run(inputs)}, baseline="offline", rounds=rounds, budget=budget, shortest=WALL_SLICE
    )
    return [_timed(compared, "offline", "offline", subject.threads, batch, subject.length(inputs), sample_rate)]


def _timed(
    compared: Comparison, name: str, baseline: str, threads: int, batch: int, samples: int, sample_rate: float | None
) -> Timed:
    p50, p90, p99 = (compared.percentile(name, percent) for percent in (50.0, 90.0, 99.0))
    return Timed(
        name=name,
        threads=threads,
        batch=batch,
        samples=samples,
        p50=p50,
        p90=p90,
        p99=p99,
        throughput=batch * samples / p50,
        real_time=samples / sample_rate / p50 if sample_rate is not None and batch == 1 else None,
        against=None if name == baseline else compared.ratio(name),
        rounds=compared.rounds,
    )


def _with_threads(subject: Subject, count: int) -> Subject:
    return replace(subject, threads=count)
