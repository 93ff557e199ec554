"""The ensembles that there are; a new one is one file and one line."""

from __future__ import annotations

from collections.abc import Mapping

from ssm2edge.signals.bursts import bursts
from ssm2edge.signals.coloured import coloured
from ssm2edge.signals.ensemble import Ensemble
from ssm2edge.signals.heavy import heavy
from ssm2edge.signals.levels import levels
from ssm2edge.signals.rectified import rectified
from ssm2edge.signals.saturated import saturated
from ssm2edge.signals.shifted import shifted
from ssm2edge.signals.smooth import smooth
from ssm2edge.signals.tones import tones
from ssm2edge.signals.transients import transients
from ssm2edge.signals.white import white

ENSEMBLES: Mapping[str, Ensemble] = {
    "white": white, "coloured": coloured, "smooth": smooth, "levels": levels, "transients": transients, "bursts": bursts,
    "rectified": rectified, "saturated": saturated, "heavy": heavy, "tones": tones, "shifted": shifted,
}  # fmt: skip
