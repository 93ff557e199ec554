"""The whole-sequence graph: any batch, any length of at least one sample."""

from __future__ import annotations

import onnx

from ssm2edge.export.onnx_graph import to_onnx
from ssm2edge.export.ownership import name_layers
from ssm2edge.export.span import lengths
from ssm2edge.lowering.plan import TYPICAL_LENGTH
from ssm2edge.traced.inputs import time_of
from ssm2edge.traced.program import TracedModel


def export_offline(traced: TracedModel, length: int = TYPICAL_LENGTH, integers: bool = False) -> onnx.ModelProto:
    """Write a traced model as offline.onnx, for sequences of any length, fastest at about ``length`` samples.

    With ``integers``, weights that were rounded are stored as integers.
    """
    name_layers(traced.program)
    outputs, (place, axis) = [], time_of(traced.inputs)
    for name, value in zip(traced.outputs, traced.output_values(), strict=True):
        axes = traced.time_axes(value)
        outputs.append({"name": name, "time_axis": axes[0] if axes else None, "batch_axis": 0})
    return to_onnx(
        traced.program,
        [entry.name for entry in traced.inputs],
        traced.outputs,
        {
            "kind": "offline",
            **lengths(traced),
            "multiple": str(traced.multiple),
            "shortest": str(traced.shortest),
            "inputs": [entry.described() for entry in traced.inputs],
            "outputs": outputs,
        },
        {"batch": (place, 0)} | ({"time": (place, axis)} if traced.length is None else {}),
        length,
        integers,
    )
