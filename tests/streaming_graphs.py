"""Streaming graphs written by hand, and their C form compiled and run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.firmware.comparing import run_stream
from ssm2edge.firmware.driver import Blocks, step_program
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.host import run_on_host
from ssm2edge.firmware.sources import Names
from ssm2edge.firmware.step import Step, make_step

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler on this machine")
QUICK = ("-O0",)

Array = NDArray[np.generic]
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def save_stream(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    states: Mapping[str, tuple[str, Sequence[int]]] | None = None,
    constants: Mapping[str, Array] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Path:
    """Save a streaming graph of blocks of one sample; shapes are without the batch axis, states name what they become."""
    types = {name: TYPES[kind] for name, kind in (kinds or {}).items()}

    def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), ["batch", *shape])

    kept = states or {}
    graph = helper.make_graph(
        list(nodes),
        "stream",
        [*(value(n, s) for n, s in inputs.items()), *(value(n, s) for n, (_, s) in kept.items())],
        [*(value(n, s) for n, s in outputs.items()), *(value(n, s) for n, s in kept.values())],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entries = {
        "schema": "1",
        "kind": "stream",
        "block": "1",
        "frame": "1",
        "inputs": json.dumps([{"name": name, "time_axis": 1, "batch_axis": 0} for name in inputs]),
        "outputs": json.dumps([{"name": name, "time_axis": None, "batch_axis": 0} for name in outputs]),
        "states": json.dumps(
            [{"input": name, "output": after, "shape": list(shape), "initial": 0.0} for name, (after, shape) in kept.items()]
        ),
    }
    helper.set_model_props(model, {f"ssm2edge.{key}": text for key, text in entries.items()})
    onnx.save(model, path)
    return path


def step_of(path: Path) -> Step:
    return make_step(read_graph(path))


def both(
    path: Path, sequences: Sequence[Blocks], folder: Path, flags: Sequence[str] = QUICK
) -> tuple[list[dict[str, Array]], list[dict[str, Array]]]:
    """Return the outputs of the C form and of onnxruntime."""
    step = step_of(path)
    program = step_program(step, Names.of(step, "model"))
    return run_on_host(program, sequences, folder, flags).outputs, run_stream(path, sequences)
