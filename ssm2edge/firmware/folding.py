"""A graph for one stream, or one sequence of known length: sizes known, what no input changes computed beforehand."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime


def folded(path: Path, length: int | None = None) -> onnx.ModelProto:
    """Let onnxruntime compute what no input changes, for one stream; at this level it keeps to operators of the standard.

    Parameters
    ----------
    path
        A graph with a free batch, and perhaps a free time.
    length
        Samples of a whole sequence.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_free_dimension_override_by_name("batch", 1)
    if length is not None:
        options.add_free_dimension_override_by_name("time", length)
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(target)
    _rename_made(model.graph)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _rename_made(graph: onnx.GraphProto) -> None:
    """Rename the constants that onnxruntime made: it refuses graphs where it would make one of the same name once more."""
    renamed = {value.name: f"folded{value.name}" for value in graph.initializer if value.name.startswith("_")}
    for value in graph.initializer:
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
