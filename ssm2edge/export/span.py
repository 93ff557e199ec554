"""Lengths of sequences in the metadata of graphs."""

from __future__ import annotations

from ssm2edge.traced.program import TracedModel


def lengths(traced: TracedModel) -> dict[str, str]:
    """Return the entries of a graph's metadata that bind its sequences to one length, or to a longest one."""
    if traced.only is not None:
        return {"length": str(traced.only)}
    return {} if traced.longest is None else {"longest": str(traced.longest)}
