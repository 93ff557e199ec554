"""The streaming graph: one block of samples, explicit states in and out."""

from __future__ import annotations

import onnx
import torch
from torch.export import Dim

from ssm2edge.export.onnx_graph import to_onnx
from ssm2edge.export.ownership import name_layers
from ssm2edge.export.span import lengths
from ssm2edge.export.streaming import RULES, StateSpec, StreamingModule, to_streaming
from ssm2edge.traced.errors import ExportError
from ssm2edge.traced.program import EXAMPLE_BATCH, TracedModel, quiet_exporter


def export_stream(traced: TracedModel, block: int, integers: bool = False) -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    """Write a traced model as stream.onnx for blocks of ``block`` samples; with ``integers``, rounded weights as integers.

    Returns
    -------
    tuple
        The graph, and its states in the order of its inputs.

    Raises
    ------
    StreamingError
        If the model cannot stream.
    ExportError
        If the block is not a multiple of the model's frame, or the block form cannot be written as ONNX.
    """
    traced = traced.free or traced
    name_layers(traced.program)
    module = streaming_module(traced, block)
    program = _trace_block(module, traced, block)
    states = module.states
    model = to_onnx(
        program,
        [*(entry.name for entry in traced.inputs), *(state.input_name for state in states)],
        [*traced.outputs, *(state.output_name for state in states)],
        {
            "kind": "stream",
            "block": str(block),
            "frame": str(module.frame),
            **lengths(traced),
            "inputs": [entry.described() for entry in traced.inputs],
            "outputs": [
                {"name": name, "time_axis": axes[0] if (axes := traced.time_axes(value)) else None, "batch_axis": 0}
                for name, value in zip(traced.outputs, traced.output_values(), strict=True)
            ],
            "states": [
                {"input": state.input_name, "output": state.output_name, "shape": list(state.shape), "initial": 0.0}
                for state in states
            ],
        },
        {"batch": (0, 0)},
        integers=integers,
    )
    return model, states


def streaming_module(traced: TracedModel, block: int | None = None) -> StreamingModule:
    """Turn a traced model into its block form, for blocks of ``block`` samples; None for any multiple of its frame.

    Raises
    ------
    StreamingError
        If the model cannot stream.
    ExportError
        If the block is not a multiple of the model's frame.
    """
    module = to_streaming(traced.free or traced, RULES)
    if block is not None and block % module.frame:
        raise ExportError(
            f"The model cannot stream in blocks of {block} samples, because it changes the rate of time: "
            f"ask for a block of {module.frame} samples or a multiple of {module.frame}."
        )
    return module


def _trace_block(module: StreamingModule, traced: TracedModel, block: int) -> torch.export.ExportedProgram:
    examples = [torch.zeros(entry.resized(EXAMPLE_BATCH, block), dtype=entry.example.dtype) for entry in traced.inputs]
    arguments = (*examples, *module.initial_states(EXAMPLE_BATCH))
    batch = Dim("batch")
    try:
        with quiet_exporter(), torch.no_grad():
            return torch.export.export(module, arguments, dynamic_shapes=(tuple({0: batch} for _ in arguments),))
    except Exception as error:  # torch.export raises many unrelated types; all mean the same to the user
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"The streaming form of the model cannot be exported: {first}") from error
