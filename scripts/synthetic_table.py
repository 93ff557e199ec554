"""The tables of synthetic signals in docs/method.md and docs/results.md, made of docs/synthetic_signals.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEY = re.compile(r"(?P<model>\w+) 1/(?P<divisor>\d+) (?P<kind>\w+)(?: seed (?P<seed>\d+) (?P<way>\w+).*)?")
MODELS = ("digits", "fashion", "activity", "keywords", "text", "sysid")
FILE = Path(__file__).resolve().parent.parent / "docs" / "synthetic_signals.json"


def stored(file: Path = FILE) -> dict[str, Any]:
    """All figures so far."""
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"originals": {}, "cells": {}}
    return known


def cells(known: Mapping[str, Any], kind: str, model: str, divisor: int, way: str = "match") -> list[Mapping[str, Any]]:
    """The figures of one kind on one model at one size, one for each seed."""
    found = ((KEY.match(key), cell) for key, cell in known["cells"].items())
    wanted = (model, str(divisor), kind, None if kind == "none" else way)
    return [cell for match, cell in found if match is not None and match.group("model", "divisor", "kind", "way") == wanted]


def mean(found: list[Mapping[str, Any]], figure: str) -> float | None:
    """Mean over the seeds; None without any."""
    return sum(cell[figure] for cell in found) / len(found) if found else None


def loss_text(cell: Mapping[str, Any], model: str) -> str:
    """Points of accuracy lost, or per cent by which the NRMSE rises."""
    value, before = cell["metric"], cell["original"]
    return f"{100 * (value / before - 1):+.1f} %" if model == "sysid" else f"{round(100 * (before - value), 2) + 0.0:.1f}"


def study(known: Mapping[str, Any]) -> str:
    """Deviation of the outputs, and in brackets the loss, by kind of signal and model, an eighth of the states kept."""
    kinds = ("none", *known["ensembles"], *known["symbols"], "ten", "ten_varied", "mixture", "builds", "samples")
    by_builds = {"builds": "as builds do: the same, and `match`"}
    return _table(known, [(model, 8) for model in MODELS], kinds, WORDS | by_builds)


def mixtures(known: Mapping[str, Any]) -> str:
    """The same for mixtures."""
    return _table(known, [("activity", 8), ("fashion", 8), ("digits", 16), ("fashion", 16), ("activity", 16)], MIXTURES)


MIXTURES = (
    "none", "ten", "ten_and_shifted", "saturated_rectified", "five", "five_and_tones", "four", "smooth_levels",
    "smooth_levels_saturated", "mixture", "half_evoked", "evoked", "builds", "samples",
)  # fmt: skip
WORDS = {
    "none": "nothing", "ten": "**all but `shifted`**", "ten_varied": "the same, with random gains and offsets",
    "half_evoked": "every other sequence moved until a class is recognised, ten steps", "evoked": "every sequence, ten steps",
    "builds": "as builds do, with `match`: every sequence moved at a sixteenth, thirty steps",
    "ten_and_shifted": "all", "mixture": "the same, as builds do at an eighth", "samples": "calibration samples",
    "saturated_rectified": "`saturated`, `rectified`", "smooth_levels": "`smooth`, `levels`",
    "smooth_levels_saturated": "`smooth`, `levels`, `saturated`", "four": "`coloured`, `smooth`, `levels`, `saturated`",
    "five": "`coloured`, `smooth`, `levels`, `rectified`, `saturated`", "five_and_tones": "the same and `tones`",
}  # fmt: skip


def _table(
    known: Mapping[str, Any], columns: Sequence[tuple[str, int]], kinds: Sequence[str], words: Mapping[str, str] = WORDS
) -> str:
    several = len({divisor for _, divisor in columns}) > 1
    heads = [f"{model}, 1/{divisor}" if several else model for model, divisor in columns]
    lines = ["| calibrated on | " + " | ".join(heads) + " |", "|" + "---|" * (len(columns) + 1)]
    for kind in kinds:
        row = []
        for model, divisor in columns:
            cell = _first(known, kind, model, divisor)
            row.append("" if cell is None else f"{cell['deviation']:.3f} ({loss_text(cell, model)})")
        if any(row):
            lines.append(f"| {words.get(kind, f'`{kind}`')} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _first(known: Mapping[str, Any], kind: str, model: str, divisor: int) -> Mapping[str, Any] | None:
    """The figure by `spectrum`, or by a few steps of `match`."""
    found = (cells(known, kind, model, divisor, way) for way in ("spectrum", "screening", "match"))
    return next((each[0] for each in found if each), None)


def without_data(known: Mapping[str, Any], model: str) -> dict[str, dict[str, Any]]:
    """Return by size, ``1/8`` and so on, the mean metric of what builds do over its seeds, and their number."""
    # Symbols are not moved: for texts the mixture is what builds do.
    found = {
        f"1/{divisor}": cells(known, "builds", model, divisor) or cells(known, "mixture", model, divisor)
        for divisor in (4, 8, 16, 32)
    }
    return {size: {"value": mean(each, "metric"), "seeds": len(each)} for size, each in found.items() if each}
