"""Operators that only name the axes anew."""

from __future__ import annotations

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering


def reshape(operation: Operation, lowering: Lowering) -> None:
    """Give the elements the output's axes."""
    lowering.reshape(operation, operation.outputs[0].shape)


def transpose(operation: Operation, lowering: Lowering) -> None:
    """Exchange axes."""
    source = lowering.view(operation.inputs[0])
    order = operation.integers("perm", range(len(source.shape))[::-1])
    lowering.bind(operation.outputs[0], source.transposed(order))


def expand(operation: Operation, lowering: Lowering) -> None:
    """Repeat elements along axes of size one."""
    lowering.bind(operation.outputs[0], lowering.view(operation.inputs[0]).broadcast(operation.outputs[0].shape))
