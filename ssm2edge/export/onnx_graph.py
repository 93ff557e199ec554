"""From an exported program to an ONNX model: our operators become nodes of our domain, then plain ones, with metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from torch import Tensor
from torch.export import ExportedProgram

from ssm2edge.export.mimo_nodes import mimo_decompositions
from ssm2edge.export.near_neutral import near_neutral_decompositions
from ssm2edge.export.norms_apart import batch_norms_apart
from ssm2edge.export.operator_table import export_program
from ssm2edge.export.ownership import layer_values, name_values
from ssm2edge.export.passes.cancel_transposes import cancel_transposes
from ssm2edge.export.passes.drop_time_axis import write_single_samples_as_rows
from ssm2edge.export.passes.join_states import join_states
from ssm2edge.export.passes.share_lengths import compute_lengths_once
from ssm2edge.export.passes.sizes import sizes_of
from ssm2edge.export.passes.split_gates import write_gates_as_products
from ssm2edge.export.passes.store_integers import store_integers
from ssm2edge.export.passes.store_poles import store_poles
from ssm2edge.export.passes.write_kernels import write_kernels
from ssm2edge.export.siso_nodes import SisoNodes
from ssm2edge.export.unwritten import in_parts, is_composed, sentence, unwritten
from ssm2edge.lowering.building import DOMAIN, Kernel
from ssm2edge.lowering.gelu import NAME as GELU
from ssm2edge.lowering.gelu import gelu
from ssm2edge.lowering.plan import TYPICAL_LENGTH
from ssm2edge.traced.errors import ExportError
from ssm2edge.traced.nodes import line_of
from ssm2edge.traced.program import quiet_exporter

IR_VERSION = 9
"""Oldest file format that opset 18 and functions allow: read by onnxruntime 1.17 and later."""

METADATA_SCHEMA = "1"

TRACE = "pkg.torch.onnx.stack_trace"
"""Metadata of a node in which the exporter keeps the calls that led to it."""

OLDEST_ONNXRUNTIME = "1.17.3"
"""Oldest version on which artifacts were run and equal the newest (``scripts/try_onnxruntime_versions.py``)."""


def to_onnx(
    program: ExportedProgram,
    input_names: Sequence[str],
    output_names: Sequence[str],
    metadata: Mapping[str, object],
    symbols: Mapping[str, tuple[int, int]],
    length: int = TYPICAL_LENGTH,
    integers: bool = False,
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
    symbols
        Names of symbolic sizes, each with an input and an axis that have it.
    length
        Samples of whole sequences that kernel forms are chosen for.
    integers
        Store weights that were rounded as integers, and what float16 holds as float16.

    Raises
    ------
    ExportError
        If an operation has no ONNX form.
    """
    parts: dict[object, object] = {}
    apart = batch_norms_apart() if integers else {}
    while True:
        kernels: dict[str, Kernel] = {}
        siso = SisoNodes(kernels, length)
        try:
            with quiet_exporter(), torch.no_grad():
                ours = {**_decompositions(kernels, siso, length), **apart, **parts}
                exported = export_program(_Decomposed(program, ours), input_names, output_names)
            break
        except Exception as error:  # the exporter wraps every failure differently
            failed = unwritten(error, program)
            if failed is None or failed.target in parts or not is_composed(failed):
                told = sentence(error, failed)
                raise ExportError(f"The model has an operation that cannot be written as ONNX: {told}") from error
            parts[failed.target] = in_parts(failed)
    model = exported.model
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for made in node.outputs:
            if made.name in output_names and not made.is_graph_output():
                # An operation may be called as an output is.
                made.name = f"{made.name}.inner"
    passes.InlinePass()(model)
    join_states(model.graph, siso.states, siso.joint)
    write_gates_as_products(model.graph)
    write_single_samples_as_rows(model.graph)
    cancel_transposes(model.graph)
    passes.RemoveUnusedNodesPass()(model)
    # Two calls of a layer on the same value are one from here on, so that no value of a layer is merged with another's later.
    passes.CommonSubexpressionEliminationPass()(model)
    passes.NameFixPass()(model)
    layers = layer_values(model.graph)
    write_kernels(model.graph, kernels)
    compute_lengths_once(model)
    passes.RemoveUnusedNodesPass()(model)
    renamed = name_values(model.graph)
    if layers:
        metadata = {**metadata, "layers": [{key: renamed.get(x, x) for key, x in layer.items()} for layer in layers]}
    if integers:
        store_poles(model.graph)
        store_integers(model.graph)
    _tidy(model, output_names, metadata.get("kind") == "stream")
    _name_symbols(model.graph, symbols)
    for key, value in {"schema": METADATA_SCHEMA, "oldest_onnxruntime": OLDEST_ONNXRUNTIME, **metadata}.items():
        model.metadata_props[f"ssm2edge.{key}"] = value if isinstance(value, str) else json.dumps(value)
    written = ir.to_proto(model)
    onnx.checker.check_model(written, full_check=True)
    return written


class _Decomposed(ExportedProgram):
    """A program that writes our operators as nodes when the exporter decomposes it: one pass over the program, not two."""

    def __init__(self, program: ExportedProgram, ours: Mapping[object, object]) -> None:
        vars(self).update(vars(program))
        self._ours = ours

    def run_decompositions(self, decomp_table: Any = None) -> ExportedProgram:
        decomposed: ExportedProgram = super().run_decompositions({**(decomp_table or {}), **self._ours})
        return decomposed


def _decompositions(kernels: dict[str, Kernel], siso: SisoNodes, length: int) -> dict[object, object]:
    """Rewrite each of our operators as one ONNX node of our domain, and note the kernel the node stands for."""

    def exact_gelu(x: Tensor, *, approximate: str = "none") -> Any:
        if approximate != "none" or x.dtype != torch.float32:
            return NotImplemented
        kernels[GELU] = gelu
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
        torch.ops.aten.gelu.default: exact_gelu,
        **near_neutral_decompositions(),
        **siso.decompositions(),
        **mimo_decompositions(kernels, length),
    }


def _tidy(model: ir.Model, output_names: Sequence[str], lines: bool) -> None:
    """Drop what only serves the exporter and the passes: version marks, notes, shapes of inner values.

    With ``lines``, nodes that no pass rewrote keep the user's line: who writes them in another language may have to refuse one.
    """
    places = {node: line_of(node.metadata_props.get(TRACE, "")) for node in model.graph} if lines else {}
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "ssm2edge", None
    model.graph.name = "ssm2edge"
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    outputs = set(model.graph.outputs)
    for value in (*model.graph.inputs, *outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        # Names that the exporter gave say what they were in the program; the others are numbers.
        if "namespace" not in node.metadata_props:
            node.name = None
    for value in (*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)):
        if value not in outputs:
            value.type = value.shape = None
    passes.ClearMetadataAndDocStringPass()(model)
    for node, line in places.items():
        node.doc_string = PurePath(line).name or None
    passes.RemoveUnusedOpsetsPass()(model)
    missing = set(output_names) - {value.name for value in outputs}
    if missing:
        raise ExportError(f"The exported graph does not compute {', '.join(missing)}; this is a defect of the exporter.")


def _name_symbols(graph: ir.Graph, symbols: Mapping[str, tuple[int, int]]) -> None:
    """Give symbolic sizes of inputs and outputs their field's names (batch, time)."""
    names = {(sizes_of(graph.inputs[place]) or [])[axis]: name for name, (place, axis) in symbols.items()}
    for value in (*graph.inputs, *graph.outputs):
        value.shape = ir.Shape([names.get(size, size) for size in sizes_of(value) or ()])
