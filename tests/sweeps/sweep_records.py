"""Records of sweeps, made up, for whatever reads or draws them."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssm2edge.artifact.sweep import CellFigures, CellRecord, ChoiceRecord, SweepRecord

ORDERS, METHODS, WIDTHS = (32, 16, 8, 4, 2, 1), ("gradient", "balanced", "modal"), ("float32", "int8", "int4")
LOST = {"gradient": 0.4, "balanced": 0.7, "modal": 1.6}
COARSE = {"float32": 0.0, "int8": 0.05, "int4": 0.6}
PER_NUMBER = {"float32": 4, "int8": 1, "int4": 0.5}


def cell(model: str, metric: str, order: int, method: str, width: str, **more: Any) -> CellRecord:
    """A cell whose figures follow from its options."""
    loss = LOST[method] * 8 / order**1.3 + COARSE[width]
    size = round(2e4 + PER_NUMBER[width] * (1.2e4 + 1.1e3 * order))
    down = metric == "accuracy"
    figures = CellFigures(
        metric=metric,
        original=0.981 if down else 0.08,
        artifact=0.981 - loss / 100 if down else 0.08 + loss / 100,
        loss=loss,
        samples=2000,
        error=loss / 40,
        bytes=size,
        offline_bytes=size,
        stream_bytes=round(0.8 * size),
        weight_bytes=size // 2,
        original_bytes=207_568,
        latency=1e-3 + 4e-5 * order,
        latency_ratio=0.02,
        multiply_adds=500_000 * order,
        stream_multiply_adds=700 * order,
        parameters=1_000 * order,
        original_parameters=64_000,
        states=order,
        ram=None if more.pop("hostless", True) else 4096,
    )
    options = {"order": order, "method": method, "precision": width}
    name = f"order-{order}-{method}-{width}"
    return CellRecord(name, "0" * 64, f"models/{model}", model, options, "done", f"cells/{model}/{name}", seconds=12.5,
        peak_bytes=8 << 26, figures=figures)  # fmt: skip


def many(chosen: bool = True) -> SweepRecord:
    """Two models, three axes, a cell that failed, one that is open, and a choice."""
    grid = [(order, method, width) for order in ORDERS for method in METHODS for width in WIDTHS]
    cells = [cell("digits", "accuracy", *one) for one in grid] + [cell("sysid", "nrmse", *one) for one in grid]
    cells[4] = dataclasses.replace(cells[4], status="failed", figures=None, error="The model <b>cannot</b> be reduced.")
    cells[9] = dataclasses.replace(cells[9], status="open", figures=None, seconds=None, peak_bytes=None)
    picked = ChoiceRecord("order-8-gradient-int8", {"max_drop": 0.5, "max_bytes": 40960}, 0.95, 12, 1000, 1000, 0.26, 0.48, 0.3)
    axes = {"order": list(ORDERS), "method": list(METHODS), "precision": list(WIDTHS)}
    return SweepRecord({"ssm2edge": "0.1.0"}, ("models/digits", "models/sysid"), axes, tuple(cells), picked if chosen else None)


def one() -> SweepRecord:
    """One cell of a model without labels."""
    only = cell("odd <name>", "accuracy", 4, "gradient", "float32")
    assert only.figures is not None
    bare = dataclasses.replace(only.figures, metric=None, original=None, artifact=None, loss=None, samples=None, latency=None,
        latency_ratio=None, stream_bytes=None, stream_multiply_adds=None)  # fmt: skip
    only = dataclasses.replace(only, figures=bare, options={}, seconds=None, peak_bytes=None)
    return SweepRecord({}, ("models/odd",), {}, (only,))
