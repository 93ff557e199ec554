"""Lengths of sequences on which the systems of a model's layers are what the layers compute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssm2edge.layers.contract import FoundLayer
from ssm2edge.layers.realising import REGISTERED
from ssm2edge.systems.norms import h2_norm, proper_energy
from ssm2edge.systems.stability import is_stable

NEGLIGIBLE = 1e-4
"""Share of a response, in root mean square, that a layer may cut off without a difference."""


@dataclass(frozen=True)
class Span:
    """Lengths of sequences.

    Attributes
    ----------
    shortest, longest
        In samples; no longest one is None.
    reason
        A sentence on the layer that decides; empty where any length will do.
    """

    shortest: int = 1
    longest: int | None = None
    reason: str = ""


def span_of(layers: Iterable[FoundLayer], imitated: int | None = None) -> Span:
    """Return the lengths on which all layers are the systems that they were found to be, or what stands for these imitates them.

    A layer that cuts its response off at a longest length, where it has died out, holds for all.

    Parameters
    ----------
    imitated
        Longest sequences on which stable systems imitate those that are not stable.
    """
    span = Span()
    for layer in layers:
        name = f"{layer.name or '(the model)'} ({layer.library})"
        if imitated is not None and (span.longest is None or imitated < span.longest) and not is_stable(layer.system).all():
            more = f"is not stable, and a stable layer imitates it on {imitated:,} samples"
            span = Span(
                1, imitated, f"Layer {name} {more}, so the graphs take no longer sequences; give a longer --horizon for more."
            )
        if layer.lengths is None:
            continue
        first, last = layer.lengths[0], layer.lengths[-1]
        if first == last:
            return Span(first, last, f"Layer {name} is another system at every length, so the graphs take {last:,} samples only.")
        if (span.longest is None or last < span.longest) and (layer.realised is not None or not _dies_out(layer, last)):
            if layer.realised is not None or layer.library == REGISTERED:
                more, mend = f"goes on otherwise than its system after {last:,} samples", "give longer samples"
            else:
                more, mend = (
                    f"cuts its response off after {last:,} samples",
                    "make it with a longer one, or without an end,",
                )
            span = Span(1, last, f"Layer {name} {more}, so the graphs take no longer sequences; {mend} for more.")
    return span


def _dies_out(layer: FoundLayer, longest: int) -> bool:
    system = layer.system
    rest = (proper_energy(system) - proper_energy(system, longest - 1)).clamp_min(0).sqrt()
    return bool((rest <= NEGLIGIBLE * h2_norm(system)).all())
