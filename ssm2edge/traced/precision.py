"""Precisions that the graphs do not have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ssm2edge.traced.errors import ExportError
from ssm2edge.traced.nodes import user_line

REDUCED = (torch.bfloat16, torch.float16)


def check_precision(program: ExportedProgram) -> None:
    """Refuse a program that computes in half precision: the graphs compute in float32, and would answer otherwise.

    Raises
    ------
    ExportError
        If an operation does; the sentence names its place.
    """
    for node in program.graph.nodes:
        if getattr(node.target, "__name__", "") == "wrap_with_autocast" and node.args[2]:
            dtype = str(node.args[1]).removeprefix("torch.")
            raise ExportError(
                f"The model's forward runs in {dtype} under torch.autocast; the graphs compute in float32: take autocast out of "
                "the forward, and put it around the training step."
            )
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, Tensor) and value.dtype in REDUCED:
            place, dtype = user_line(node), str(value.dtype).removeprefix("torch.")
            raise ExportError(
                f"The model's forward computes in {dtype}{f' at {place}' if place else ''}; the graphs compute in float32: leave "
                "the cast out, and give the factory's model as model.float()."
            )
