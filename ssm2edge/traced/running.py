"""Exported programs, run eagerly on any length, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind


def held_tensors(program: ExportedProgram) -> dict[str, Tensor]:
    """Weights and constants, by the name of the node that stands for each."""
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    found = {}
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind == InputKind.USER_INPUT:
            continue
        assert spec.target is not None
        held = program.state_dict.get(spec.target, program.constants.get(spec.target))
        assert isinstance(held, Tensor)
        found[node.name] = held.detach()
    return found


def run_program(program: ExportedProgram, inputs: Sequence[Tensor]) -> dict[fx.Node, Any]:
    """The values of all nodes; the output node's are the outputs. What the exporter asserts of sizes is not looked at."""
    held, remaining = held_tensors(program), iter(inputs)
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = held[node.name] if node.name in held else next(remaining)
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: values[argument])
            values[node] = args[0] if node.op == "output" else node.target(*args, **kwargs)
    return values
