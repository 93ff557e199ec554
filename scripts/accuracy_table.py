"""Accuracy of models/digits after reduction without retraining: README's table.

    python scripts/accuracy_table.py [--orders 32,16,8,4] [--methods balanced,tlh2,gradient]

Every cell reduces the shipped model, exports the whole-sequence graph and counts right answers of onnxruntime on the 2,000
held-out digits.  Figures go to models/digits/results/accuracy.json; finished cells are kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch

from ssm2edge.export import InputAxes, export_offline, trace
from ssm2edge.layers import blocks, exportable
from ssm2edge.loading import open_source
from ssm2edge.pipeline import Loaded, load, replace
from ssm2edge.recording import record_outputs
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.orders import uniform_orders
from ssm2edge.runtime import Model
from ssm2edge.systems.norms import h2_error, h2_norm

MODEL = Path(__file__).resolve().parent.parent / "models" / "digits"
RESULTS = MODEL / "results" / "accuracy.json"


def measure(loaded: Loaded, order: int, method: str) -> dict[str, Any]:
    """Reduce, export and evaluate one cell."""
    start = time.perf_counter()
    reductions = reduce_layers(loaded.systems, uniform_orders(loaded.systems, order), method, loaded.length)
    seconds = time.perf_counter() - start
    reduced = replace(loaded, {name: reduction.system for name, reduction in reductions.items()})
    deployed = blocks(reduced)
    relative = {}
    outcomes: dict[str, int] = {}
    for name, layer in loaded.layers.items():
        horizon = reductions[name].horizon
        error = h2_error(layer.system, deployed[name].system(), horizon).norm()
        relative[name] = float(error / h2_norm(layer.system, horizon).norm())
        for outcome, count in reductions[name].outcome_counts.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    pixels, labels = loaded.samples.held_out["pixels"], loaded.samples.labels
    assert labels is not None
    graph = export_offline(trace(exportable(reduced), [InputAxes("pixels", 1, torch.from_numpy(pixels[:1]))]))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "offline.onnx"
        onnx.save(graph, path)
        with Model(path) as model:
            answers = np.concatenate([model.run(pixels[i : i + 50])["output"] for i in range(0, len(pixels), 50)])
    return {
        "order": order,
        "method": method,
        "accuracy": float((answers.argmax(1) == labels).mean()),
        "h2_error_relative": relative,
        "outcomes": outcomes,
        "reduction_seconds": round(seconds, 1),
    }


def markdown(results: dict[str, Any]) -> str:
    """README's table of the figures."""
    cells = {(cell["order"], cell["method"]): cell["accuracy"] for cell in results["cells"]}
    orders = sorted({order for order, _ in cells}, reverse=True)
    methods = [m for m in ("balanced", "tlh2", "gradient") if any(m == method for _, method in cells)]
    methods += sorted({method for _, method in cells} - set(methods))
    lines = [
        "| states kept per channel (of 64) | " + " | ".join(f"`{m}`" for m in methods) + " |",
        "|---" * (len(methods) + 1) + "|",
    ]
    for order in orders:
        row = [f"{cells[order, m]:.4f}" if (order, m) in cells else "" for m in methods]
        lines.append(f"| {order} | " + " | ".join(row) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--orders", default="32,16,8,4", show_default=True)
@click.option("--methods", default="balanced,tlh2,gradient", show_default=True)
@click.option("--fresh", is_flag=True, help="Measure every cell anew.")
def main(orders: str, methods: str, fresh: bool) -> None:
    """Fill the table and print it."""
    loaded = load(open_source(str(MODEL)))
    known = {} if fresh or not RESULTS.exists() else json.loads(RESULTS.read_text(encoding="utf-8"))
    results = {"samples": len(next(iter(loaded.samples.held_out.values()))), "cells": known.get("cells", [])}
    if "original" in known:
        results["original"] = known["original"]
    else:
        outputs = record_outputs(loaded.model, loaded.samples.held_out, loaded.source.time_axis)["output"]
        assert loaded.samples.labels is not None
        results["original"] = float((outputs.argmax(1) == loaded.samples.labels).mean())
    done = {(cell["order"], cell["method"]) for cell in results["cells"]}
    RESULTS.parent.mkdir(exist_ok=True)
    for order in map(int, orders.split(",")):
        for method in methods.split(","):
            if (order, method) in done:
                continue
            cell = measure(loaded, order, method)
            click.echo(json.dumps(cell))
            results["cells"].append(cell)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    click.echo(f"original: {results['original']:.4f} on {results['samples']} held-out samples\n\n{markdown(results)}")


if __name__ == "__main__":
    main()
