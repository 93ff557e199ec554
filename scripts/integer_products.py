"""Compare products of integers with products of float32 in a wide stream: is int8 mixing worth a graph of its own.

    python scripts/integer_products.py [--width 512] [--layers 4] [--block 16] [--pairs 200]

An S4D network with random weights, four modes a channel, is exported as a stream, and its constants are computed.  Its mixing
products (width to twice the width) are then written with ``DynamicQuantizeLinear`` and ``MatMulInteger``, weights of 8 bits a
column, as onnxruntime's quantiser does; all else stays float32.  Both graphs take turns, in one thread; the median of the ratios
is printed with its quartiles, and the error of the outputs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
import torch
from model_modules import load_model_module
from onnxruntime.quantization import QuantType, quantize_dynamic

from ssm2edge.export.stream import export_stream
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.traced import InputAxes, trace

MODELS = Path(__file__).resolve().parent.parent / "models"
LENGTH = 64


def stream_of(width: int, layers: int, block: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    model = load_model_module(MODELS / "digits").make(channels=width, states=8, layers=layers).eval()
    network = exportable(replace_layers(model, {layer.name: layer.system for layer in find_layers(model)}).eval())
    graph, _ = export_stream(trace(network, [InputAxes("pixels", 1, torch.randn(1, LENGTH, 1))]), block)
    return graph


def folded(graph: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the graph with everything computed that depends on constants alone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(graph.SerializeToString(), options)
    return onnx.load(path)


def mixing(graph: onnx.ModelProto, width: int) -> list[str]:
    """Names of the products by a matrix as large as that of a layer's mixing."""
    sizes = {value.name: int(np.prod(value.dims)) for value in graph.graph.initializer}
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")]
    return [node.name for node in products if any(sizes.get(name, 0) >= width * width for name in node.input)]


@click.command(help=__doc__)
@click.option("--width", default=512)
@click.option("--layers", default=4)
@click.option("--block", default=16)
@click.option("--pairs", default=200)
def main(width: int, layers: int, block: int, pairs: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        plain, whole = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        graph = folded(stream_of(width, layers, block), plain)
        for place, node in enumerate(graph.graph.node):
            node.name = node.name or f"node.{place}"
        names = mixing(graph, width)
        onnx.save(graph, plain)
        quantize_dynamic(
            plain,
            whole,
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[*names, *(f"{name}_MatMul" for name in names)],
        )
        sessions = [onnxruntime.InferenceSession(str(path), options) for path in (plain, whole)]
        integers = sum(node.op_type == "MatMulInteger" for node in onnx.load(whole).graph.node)
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.standard_normal([size if isinstance(size, int) else 1 for size in value.shape]).astype(np.float32) * 0.1
        for value in sessions[0].get_inputs()
    }
    first, second = (session.run(None, feeds)[0] for session in sessions)
    seconds = np.zeros((pairs, 2))
    for turn in range(pairs):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            sessions[which].run(None, feeds)
            seconds[turn, which] = time.perf_counter() - start
    low, middle, high = np.percentile(seconds[:, 1] / seconds[:, 0], [25, 50, 75])
    click.echo(
        f"width {width}, {layers} layers, block {block}: {integers} of {len(names)} mixing products in integers; float32 "
        f"{1e3 * np.median(seconds[:, 0]):.2f} ms, int8 {1e3 * np.median(seconds[:, 1]):.2f} ms, ratio {middle:.2f} "
        f"({low:.2f} to {high:.2f}); error {np.abs(first - second).max() / np.abs(first).max():.1e}"
    )


if __name__ == "__main__":
    main()
