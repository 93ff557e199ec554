"""Write ssm2edge/verification/workload.onnx: the fixed work that latencies from different machines are related to.

It is a small state-space network of the shape that the lowering emits (batched products within chunks, a recurrence over them,
gates between channels), 512 samples of 64 channels, with weights from a fixed seed.  It must never change: figures of earlier
manifests are relative to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.verification.workload import CHANNELS, LENGTH, PATH

CHUNK = 32


def main() -> None:
    """Write the file."""
    generator = np.random.default_rng(0)

    poles = np.linspace(0.5, 0.99, CHANNELS, dtype=np.float32)
    constants = {
        "toeplitz": np.triu(np.ones((1, CHUNK, CHUNK), np.float32)),
        "poles": np.diag(poles)[None],
        "gains": np.eye(CHANNELS, dtype=np.float32)[None],
        "gate": (generator.standard_normal((CHANNELS, 2 * CHANNELS)) / 8).astype(np.float32),
        "scale": np.float32(0.01),
        "chunks": np.array([0, -1, CHUNK, CHANNELS]),
        "whole": np.array([0, -1, CHANNELS]),
        "axis": np.array([2]),
        "one": np.array([1]),
    }
    node = helper.make_node
    nodes = [
        node("Reshape", ["u", "chunks"], ["cut"]),
        node("Transpose", ["cut"], ["channels"], perm=[0, 3, 1, 2]),
        node("MatMul", ["channels", "toeplitz"], ["inside"]),
        node("Transpose", ["inside"], ["inside_t"], perm=[0, 2, 3, 1]),
        node("Reshape", ["inside_t", "whole"], ["filtered"]),
        node("ReduceMean", ["cut", "axis"], ["summary"], keepdims=0),
        node("Transpose", ["summary"], ["steps"], perm=[1, 0, 2]),
        node(
            "RNN", ["steps", "gains", "poles"], ["states", ""], hidden_size=CHANNELS, activations=["Affine"],
            activation_alpha=[1.0], activation_beta=[0.0],
        ),
        node("Squeeze", ["states", "one"], ["carried"]),
        node("Transpose", ["carried"], ["carried_t"], perm=[1, 0, 2]),
        node("ReduceMean", ["carried_t", "one"], ["mean"], keepdims=1),
        node("Mul", ["filtered", "scale"], ["scaled"]),
        node("Add", ["scaled", "mean"], ["joined"]),
        node("Erf", ["joined"], ["curved"]),
        node("Mul", ["joined", "curved"], ["bent"]),
        node("MatMul", ["bent", "gate"], ["mixed"]),
        node("Split", ["mixed"], ["left", "right"], axis=2, num_outputs=2),
        node("Sigmoid", ["right"], ["opened"]),
        node("Mul", ["left", "opened"], ["output"]),
    ]  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    shape: list[str | int | None] = ["batch", "time", CHANNELS]
    graph = helper.make_graph(
        nodes,
        "workload",
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    port = '[{"name": "%s", "time_axis": 1, "batch_axis": 0}]'
    properties = {"schema": "1", "kind": "offline", "inputs": port % "u", "outputs": port % "output"}
    helper.set_model_props(model, {f"ssm2edge.{key}": value for key, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    Path(PATH).write_bytes(model.SerializeToString(deterministic=True))
    print(f"{PATH}: {Path(PATH).stat().st_size} bytes, for inputs of {LENGTH} samples")


if __name__ == "__main__":
    main()
