"""Torch's exporter with one table of operators for all graphs: read anew for each, the table takes longer than a small graph."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram
from torch.onnx import ONNXProgram

from ssm2edge.lowering.building import OPSET

if TYPE_CHECKING:
    from torch.onnx._internal.exporter._registration import ONNXRegistry


def export_program(program: ExportedProgram, input_names: Sequence[str], output_names: Sequence[str]) -> ONNXProgram:
    """Return the program in ONNX, as ``torch.onnx.export`` does, which reads its operators again at each call."""
    table = operator_table()
    if table is None:
        return by_public_function(program, input_names, output_names)
    from torch.onnx._internal.exporter import _core

    return _core.export(
        program, (), registry=table, input_names=input_names, output_names=output_names, opset_version=OPSET, verbose=False
    )


def by_public_function(program: ExportedProgram, input_names: Sequence[str], output_names: Sequence[str]) -> ONNXProgram:
    exported = torch.onnx.export(
        program, (), dynamo=True, input_names=input_names, output_names=output_names, opset_version=OPSET, verbose=False
    )
    assert exported is not None
    return exported


@functools.cache
def operator_table() -> ONNXRegistry | None:
    """Return the ONNX forms of torch's operators, or nothing where this torch keeps them in another way.

    No public function takes such a table.
    """
    try:
        from torch.onnx._internal.exporter import _core, _registration

        if "registry" not in inspect.signature(_core.export).parameters:
            return None
        return _registration.ONNXRegistry.from_torchlib(opset_version=OPSET)
    except (ImportError, AttributeError, TypeError):
        return None
