"""From an exported program to an ONNX model: our operators become ONNX functions, then plain nodes, with metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx.inliner
import torch
from torch import Tensor
from torch.export import ExportedProgram

from ssm2edge.export.layer_values import layer_values
from ssm2edge.export.mimo_nodes import mimo_decompositions
from ssm2edge.export.near_neutral import near_neutral_decompositions
from ssm2edge.export.passes.cancel_transposes import cancel_transposes
from ssm2edge.export.passes.drop_time_axis import write_single_samples_as_rows
from ssm2edge.export.passes.joint_states import join_states
from ssm2edge.export.passes.remove_unused import drop_unused
from ssm2edge.export.passes.share_lengths import compute_lengths_once
from ssm2edge.export.passes.split_gates import write_gates_as_products
from ssm2edge.export.siso_nodes import SisoNodes
from ssm2edge.lowering.functions import DOMAIN, OPSET
from ssm2edge.lowering.gelu import NAME as GELU
from ssm2edge.lowering.gelu import gelu_function
from ssm2edge.lowering.plan import TYPICAL_LENGTH
from ssm2edge.traced.errors import ExportError
from ssm2edge.traced.program import quiet_exporter

IR_VERSION = 9
"""Oldest file format that opset 18 and functions allow: read by onnxruntime 1.17 and later."""

METADATA_SCHEMA = "1"

OLDEST_ONNXRUNTIME = "1.17.3"
"""Oldest version on which artifacts were run and equal the newest (``scripts/try_onnxruntime_versions.py``)."""


def to_onnx(
    program: ExportedProgram,
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: Mapping[str, object],
    length: int = TYPICAL_LENGTH,
) -> onnx.ModelProto:
    """Translate a program whose LTI parts are our operators into a self-contained ONNX model of standard operators.

    Parameters
    ----------
    program
        Traced by :func:`ssm2edge.traced.program.trace`, or the streaming form of one.
    input_names, output_names
        Names in the graph, in the order of the program's arguments.
    metadata
        Values written as ``ssm2edge.<key>``; anything but a string is written as JSON.
    length
        Samples of whole sequences that kernel forms are chosen for.

    Raises
    ------
    ExportError
        If an operation has no ONNX form.
    """
    functions: dict[str, str] = {}
    siso = SisoNodes(functions, length)
    try:
        with quiet_exporter(), torch.no_grad():
            lowered = program.run_decompositions(_decompositions(functions, siso))
            exported = torch.onnx.export(
                lowered,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps every failure differently; the first line names the operation
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"The model has an operation that cannot be written as ONNX: {first}") from error
    assert exported is not None
    model = exported.model_proto
    join_states(model, siso.states, siso.joint)
    write_gates_as_products(model)
    write_single_samples_as_rows(model)
    cancel_transposes(model)
    layers = layer_values(model.graph)
    model.functions.extend(onnx.parser.parse_function(text) for text in functions.values())
    model = onnx.inliner.inline_local_functions(model)
    compute_lengths_once(model.graph)
    drop_unused(model.graph)
    _tidy(model, output_names)
    if layers:
        metadata = {**metadata, "layers": layers}
    for key, value in {"schema": METADATA_SCHEMA, "oldest_onnxruntime": OLDEST_ONNXRUNTIME, **metadata}.items():
        entry = model.metadata_props.add()
        entry.key = f"ssm2edge.{key}"
        entry.value = value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model, full_check=True)
    return model


def _decompositions(functions: dict[str, str], siso: SisoNodes) -> dict[object, object]:
    """Rewrite each of our operators as one ONNX node of our domain, and note the function text the node stands for."""

    def gelu(x: Tensor, *, approximate: str = "none") -> Any:
        if approximate != "none" or x.dtype != torch.float32:
            return NotImplemented
        functions[GELU] = gelu_function()
        return torch.onnx.ops.symbolic(f"{DOMAIN}::{GELU}", (x,), dtype=x.dtype, shape=x.shape, version=1)

    def mean(x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
        # onnxruntime reduces a middle axis an order of magnitude slower than it multiplies by a row of ones.
        if x.ndim != 3 or not dim or [d % 3 for d in dim] != [1] or x.dtype != torch.float32 or dtype not in (None, x.dtype):
            return NotImplemented
        length = x.shape[1]
        if isinstance(length, int):
            return NotImplemented
        total = x.new_ones(1, length) @ x
        return (total if keepdim else total.squeeze(1)) / length

    return {
        torch.ops.aten.mean.dim: mean,
        torch.ops.aten.gelu.default: gelu,
        **near_neutral_decompositions(),
        **siso.decompositions(),
        **mimo_decompositions(functions),
    }


def _tidy(model: onnx.ModelProto, output_names: Sequence[str]) -> None:
    """Drop what only serves the exporter: its version marks, notes on nodes, shapes of inner values, names of symbols."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ssm2edge", ""
    del model.metadata_props[:]
    kept = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    graph = model.graph
    graph.name = "ssm2edge"
    del graph.value_info[:]
    del graph.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    produced = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
    missing = [name for name in output_names if name not in produced]
    if missing:
        raise ExportError(f"The exported graph does not compute {', '.join(missing)}; this is a defect of the exporter.")


def rename_symbols(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give symbolic sizes of inputs and outputs their field's names (batch, time)."""
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]
