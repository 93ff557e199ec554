"""Latency of the graphs of an artifact on this machine, one sequence at a time."""

from __future__ import annotations

from collections.abc import Callable

from ssm2edge.verification.latency import Comparison, interleaved
from ssm2edge.verification.subject import Subject


def time_graphs(subject: Subject, rounds: int = 20, budget: float = 2.0) -> Comparison:
    """Time ``offline`` on one held-out sequence, and ``stream`` on one block if there is a streaming graph.

    Parameters
    ----------
    subject
        Graphs and held-out inputs.
    rounds, budget
        As of `interleaved`.
    """
    inputs = subject.held_out(1)
    candidates: dict[str, Callable[[], object]] = {"offline": lambda: subject.model.run(inputs)}
    if subject.stream is None or subject.length(inputs) == 0:
        return interleaved(candidates, baseline="offline", rounds=rounds, budget=budget)
    with subject.open_stream(1, endless=True) as stream:
        part = subject.cut(inputs, 0, stream.block)
        samples = next(iter(part.values())) if len(part) == 1 else part
        candidates["stream"] = lambda: stream.push(samples)
        return interleaved(candidates, baseline="offline", rounds=rounds, budget=budget)
