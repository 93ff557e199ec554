"""Weights and constants that an exported program holds, by the name of the node that stands for each."""

from __future__ import annotations

from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind


def held_tensors(program: ExportedProgram) -> dict[str, Tensor]:
    """All but the user's inputs, by node name."""
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
