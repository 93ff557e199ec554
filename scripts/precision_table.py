"""Bytes of rounded artifacts against their originals in float32, and what is lost: measured, and as a table.

    python scripts/precision_table.py "MODEL SHARE=FLOAT32,ROUNDED[,NO_DATA]" ... [--json docs/precision.json]

FLOAT32, ROUNDED and NO_DATA are build directories of one model: in float32, with ``--precision``, and with ``--precision`` from
a samples file without calibration samples; FLOAT32 may be empty.  SHARE is that of the bytes which the row is to keep to.  Files
are measured on disk, numbers and graph apart.  onnxruntime quantises the float32 artifact's whole-sequence graph in int8, per
channel: dynamically, and statically (QDQ) with ranges seen on the model's calibration samples.  Latencies are those of a step of
the stream, or of a sequence where there is none, in interleaved pairs.
"""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ssm2edge.artifact import Artifact, open_artifact
from ssm2edge.loading import load_arrays
from ssm2edge.stages.costs import stored_bytes

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "precision.json"
ROWS, PAIRS, RANGES = 100, 400, 64
NAMED = ("order", "max_bytes", "precision", "feedthrough")
"""Options that a row names."""


def measured(name: str, float32: Artifact | None, rounded: Artifact, no_data: Artifact | None) -> dict[str, Any]:
    """Return the figures of one model."""
    manifest = rounded.manifest
    assert manifest.accuracy is not None
    row: dict[str, Any] = {
        "metric": manifest.metric(),
        "options": {key: manifest.options[key] for key in NAMED if key in manifest.options},
        "original_bytes": 4 * manifest.parameters.model_before,
        "parameters": [manifest.parameters.model_before, manifest.parameters.model_after],
        "original": manifest.accuracy.original,
        "rounded": manifest.accuracy.artifact,
        "samples": manifest.accuracy.samples,
        "graphs": {name: _graph(rounded.path(f"{name}.onnx")) for name in manifest.costs},
    }
    if float32 is not None:
        row["float32"] = float32.manifest.accuracy.artifact if float32.manifest.accuracy else None
        row["float32_files"] = {name: float32.manifest.files[f"{name}.onnx"].bytes for name in float32.manifest.costs}
        row["latency_ratio"] = latency_ratio(float32, rounded)
        with tempfile.TemporaryDirectory() as folder:
            row["dynamic"] = from_outside(float32, Path(folder) / "dynamic.onnx", quantize_dynamic)
            row["qdq"] = from_outside(float32, Path(folder) / "qdq.onnx", partial(static, samples=calibration(name, float32)))
    if no_data is not None and no_data.manifest.accuracy is not None:
        row["no_data"] = no_data.manifest.accuracy.artifact
        row["no_data_options"] = {key: no_data.manifest.options[key] for key in NAMED if key in no_data.manifest.options}
        row["no_data_numbers"] = {name: _graph(no_data.path(f"{name}.onnx"))["numbers"] for name in no_data.manifest.costs}
    return row


def _graph(path: Path) -> dict[str, Any]:
    kinds = stored_bytes(onnx.load(path))
    return {"file": path.stat().st_size, "numbers": sum(kinds.values()), "kinds": kinds}


def from_outside(artifact: Artifact, target: Path, quantise: Callable[[Path, Path], None]) -> dict[str, Any]:
    """Quantise a whole-sequence graph from outside, and judge it on the held-out samples."""
    try:
        quantise(artifact.offline, target)
        value = judged(target, artifact)
    except Exception as error:  # it fails in many ways; the table names the first line
        return {"failed": (str(error).strip().splitlines() or [type(error).__name__])[-1][:80]}
    return {"file": target.stat().st_size, "value": value}


def quantize_dynamic(graph: Path, target: Path) -> None:
    """Quantise weights, and activations as they come."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantise

    quantise(graph, target, per_channel=True, weight_type=QuantType.QInt8)


def static(graph: Path, target: Path, samples: Mapping[str, NDArray[Any]]) -> None:
    """Quantise weights, and activations in ranges seen on samples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self.left = iter([{name: x[place : place + 1] for name, x in samples.items()} for place in range(RANGES)])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self.left, None)

    quantize_static(graph, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8)


def calibration(name: str, artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Return the calibration samples of a shipped model, as its graphs take them."""
    samples = load_arrays(ROOT / "models" / name / "samples.npz")
    given = artifact.reference.inputs
    return {key: samples[f"calibration.{key}"].astype(value.dtype) for key, value in given.items()}


def judged(graph: Path, artifact: Artifact) -> float:
    """Return the accuracy or NRMSE of a graph on the held-out samples."""
    reference = artifact.reference
    session = onnxruntime.InferenceSession(str(graph), _quiet(), providers=["CPUExecutionProvider"])
    count = len(next(iter(reference.inputs.values())))
    parts = [
        session.run(None, {name: x[start : start + ROWS] for name, x in reference.inputs.items()})[0]
        for start in range(0, count, ROWS)
    ]
    found: NDArray[Any] = np.concatenate(parts)
    labels = next(iter(reference.labels.values()))
    if labels.dtype.kind == "f":
        return float(np.sqrt(np.mean((found - labels) ** 2)) / np.std(labels))
    return float(np.mean(found.argmax(-1) == labels))


def latency_ratio(float32: Artifact, rounded: Artifact) -> float:
    """Return the latency of the rounded artifact, relative to the float32 one's: the median of interleaved pairs."""
    paths = [artifact.stream or artifact.offline for artifact in (float32, rounded)]
    sessions = [onnxruntime.InferenceSession(str(path), _quiet(), providers=["CPUExecutionProvider"]) for path in paths]
    feeds = []
    for session in sessions:
        feed = {}
        for value in session.get_inputs():
            given = float32.reference.inputs.get(value.name)
            shape = [size if isinstance(size, int) else 1 for size in value.shape]
            whole = given is not None and float32.stream is None
            kind = np.int64 if "int64" in value.type else np.float32
            feed[value.name] = given[:1] if whole and given is not None else np.zeros(shape, kind)
        feeds.append(feed)
    ratios = []
    for turn in range(PAIRS):
        seconds = [0.0, 0.0]
        for place in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            sessions[place].run(None, feeds[place])
            seconds[place] = time.perf_counter() - start
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def markdown(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: one row for each model and share."""
    head = (
        "model, share asked for", "options", "original, KB", "numbers of stream; of whole-sequence graph, KB", "share",
        "bits saved; parameters removed", "graph around them, KB", "original", "float32", "rounded", "loss",
        "loss without data, share",
        "latency against float32", "float32 file; onnxruntime's dynamic int8, QDQ of it, KB", "accuracy of these",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for key, row in figures.items():
        name, _, share = key.partition(" ")
        graphs, outside = row["graphs"], [row[kind] for kind in ("dynamic", "qdq") if kind in row]
        graph = graphs.get("stream", graphs["offline"])
        before, after = row["parameters"]
        cells = [
            f"[{name}](../models/{name}), {share}",
            ", ".join(map(str, row["options"].values())),
            _kilobytes(row["original_bytes"]),
            "; ".join(_kilobytes(graphs[kind]["numbers"]) if kind in graphs else "none" for kind in ("stream", "offline")),
            f"1/{row['original_bytes'] / graph['numbers']:.1f}",
            f"{1 - graph['numbers'] / row['original_bytes']:.0%}; {1 - after / before:.0%}",
            "; ".join(_kilobytes(one["file"] - one["numbers"]) for one in graphs.values()),
            f"{row['original']:.4f}",
            "" if row.get("float32") is None else f"{row['float32']:.4f}",
            f"{row['rounded']:.4f}",
            loss(row, row["rounded"]),
            _without_data(row) if "no_data" in row else "",
            f"{row['latency_ratio']:.2f}" if "latency_ratio" in row else "",
            "; ".join(
                [
                    _kilobytes(row["float32_files"]["offline"]),
                    *(_kilobytes(one["file"]) if "file" in one else "fails" for one in outside),
                ]
            )
            if outside
            else "",
            "; ".join(f"{one['value']:.4f}" if "value" in one else "fails" for one in outside),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def loss(row: Mapping[str, Any], value: float) -> str:
    """Return points of accuracy lost, or per cent by which the NRMSE rises."""
    if row["metric"] == "nrmse":
        return f"{100 * (value / row['original'] - 1):+.1f} %"
    return f"{100 * (row['original'] - value):.2f}"


def _without_data(row: Mapping[str, Any]) -> str:
    numbers = row["no_data_numbers"]
    return f"{loss(row, row['no_data'])}, 1/{row['original_bytes'] / numbers.get('stream', numbers['offline']):.1f}"


def _kilobytes(count: int) -> str:
    return f"{count / 1000:.1f}"


@click.command(help=__doc__)
@click.argument("builds", nargs=-1)
@click.option("--json", "target", type=click.Path(path_type=Path), default=FIGURES)
def main(builds: tuple[str, ...], target: Path) -> None:
    # The quantiser warns once for every value that it does not know.
    logging.disable(logging.WARNING)
    figures = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    for build in builds:
        name, _, directories = build.partition("=")
        float32, rounded, *others = (open_artifact(Path(path)) if path else None for path in directories.split(","))
        assert rounded is not None
        figures[name] = measured(name.partition(" ")[0], float32, rounded, others[0] if others else None)
    target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    click.echo(markdown(figures))


if __name__ == "__main__":
    main()
