"""Offline against streaming over long signals, for a model with every streaming rule and for every model in models/.

    python scripts/compare_streams.py [--samples 100000] [--only digits,sysid]
    python scripts/compare_streams.py --out docs/streaming.json && python scripts/write_pages.py

Each model is exported as it is built (reduced to the order in its build.toml by balanced truncation; no calibration, which does
not matter here), once for blocks of one frame and once for blocks of 16 frames.  Samples are pushed 1, 7, 16, 64 at a time and in
random numbers.  Outputs along time are compared in full with one run of the offline graph; final answers with the offline graph
on prefixes of 1,000, 3,162, 10,000 ... samples.  Errors are relative to the output's largest value.  Two graphs that compute in
float32 may part with nobody drifting, so both are also compared with the model in float64, on the first and the last 1,000
samples (final answers: on prefixes up to a tenth of the signal, and on all of it).  Then 64 streams in one batch are compared
with 64 single ones.  Exit code 1 if an error is above 1e-4, or if a stream drifts: if at the end it is further from float64 than
twice what it was at the beginning and than twice what the offline graph is there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from every_rule import MODELS, TOKENS, every_rule, in_blocks, traced_every_rule
from float64_reference import Float64Reference
from stream_errors import LIMIT, STEPS, Array, Row, compare, compare_batch
from torch import nn

from ssm2edge.errors import UserError
from ssm2edge.export import export_offline, export_stream
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.runtime import Model
from ssm2edge.stages.feedthrough import in_form
from ssm2edge.stages.load import load
from ssm2edge.traced import StreamingError, TracedModel

Subject = tuple[nn.Module, TracedModel, dict[str, Array], dict[str, Array]]
"""A model of blocks, the same traced, one long signal, and a batch of short ones."""
FRAMES = (1, 16)
"""Frames a block."""
TITLES = ("largest", "first 1k", "last 1k", "stream 1k", "...last", "offl. 1k", "...last")
"""Of the columns of errors."""


def every_rule_signals(rows: int, length: int) -> dict[str, Array]:
    """Random tokens and noise."""
    generator = np.random.default_rng(0)
    return {
        "tokens": generator.integers(0, TOKENS, (rows, length)),
        "sound": generator.standard_normal((rows, 2, length)).astype(np.float32),
    }


def shipped(directory: Path, rows: int, length: int) -> Subject:
    """A shipped model reduced to the order in its build.toml, one long signal, and a batch of short ones, of held-out samples."""
    source = open_source(str(directory))
    task, axis = load(source), source.time_axis
    orders = {name: min(system.order, int(source.defaults.get("order", 16))) for name, system in task.systems.items()}
    formed = in_form(task, Options(order=1).feedthrough, orders)
    reductions = reduce_layers(formed.systems, orders, "balanced", task.length)
    replaced = formed.replaced({name: reduction.system for name, reduction in reductions.items()})
    long, short = {}, {}
    for name, value in task.held_out.items():
        in_a_row = np.concatenate(list(value), axis=axis - 1)
        long[name] = np.take(in_a_row, np.arange(length) % in_a_row.shape[axis - 1], axis=axis - 1)[None]
        short[name] = value[np.arange(rows) % len(value)]
    return replaced, formed.traced(replaced), long, short


def made(frames: bool, rows: int, length: int) -> Subject:
    """The model with every rule."""
    model = in_blocks(every_rule(frames))
    return model, traced_every_rule(model), every_rule_signals(1, length), every_rule_signals(rows, 400)


def subjects() -> dict[str, Callable[[int, int], Subject]]:
    """What makes each subject of a number of rows and a length, by name."""
    found: dict[str, Callable[[int, int], Subject]] = {"every rule": partial(made, True), "one rate": partial(made, False)}
    return found | {file.parent.name: partial(shipped, file.parent) for file in sorted(MODELS.glob("*/build.toml"))}


def compared(name: str, subject: Subject) -> dict[str, Any]:
    """Rows of one model, printed as they come; the difference of 64 streams in one batch; or why it does not stream."""
    model, traced, signal, short = subject
    reference = Float64Reference(model)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(export_offline(traced), Path(folder, "offline.onnx"))
        with Model(Path(folder, "offline.onnx")) as offline:
            for frames in FRAMES:
                path = Path(folder, f"{frames}.onnx")
                try:
                    onnx.save(export_stream(traced, frames * to_streaming(traced, RULES).frame)[0], path)
                except StreamingError as error:
                    click.echo(f"{name:>12} {error}")
                    return {"refused": str(error)}
                for step in STEPS:
                    begun = time.monotonic()
                    found = compare(name, offline, reference, path, signal, step)
                    for row in found:
                        click.echo(_line(row))
                    rows += found
                    click.echo(f"{'':>12} {time.monotonic() - begun:.0f} s", err=True)
            batch = compare_batch(path, short)
            click.echo(f"{name:>12} 64 streams in one batch against each alone: {batch:.1e}")
    return {"rows": [asdict(row) for row in rows], "batch_of_64": batch}


def _line(row: Row) -> str:
    number = "random" if row.step == 0 else str(row.step)
    errors = " ".join(f"{error:>9.1e}" for error in astuple(row)[5:])
    return f"{row.model:>12} {row.block:>5} {number:>6} {row.output:>9} {errors}{' drifts' if row.drifts else ''}"


@click.command()
@click.option("--samples", default=100_000, show_default=True, help="Length of the signals.")
@click.option("--only", help="Names of models, with commas between them.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Merge the figures into this JSON file.")
def main(samples: int, only: str | None, out: Path | None) -> None:
    """Compare and print the table."""
    figures: dict[str, Any] = {"limit": LIMIT, "models": {}}
    if out is not None and out.exists():
        figures = json.loads(out.read_text(encoding="utf-8"))
    click.echo(f"{'model':>12} {'block':>5} {'step':>6} {'output':>9} " + " ".join(f"{title:>9}" for title in TITLES))
    failed = 0
    for name, make in subjects().items():
        if only is not None and name not in only.split(","):
            continue
        try:
            subject = make(64, samples)
        except UserError as error:
            # Samples that may not be shipped are fetched by the model's own script.
            click.echo(f"{name:>12} left out: {error}")
            figures["models"].setdefault(name, {"left_out": "its samples are fetched by its own script"})
            continue
        figures["models"][name] = found = compared(name, subject)
        failed += sum(not Row(**row).passed for row in found.get("rows", ()))
        if out is not None:
            out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{failed} rows above {LIMIT:g} or drifting")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
