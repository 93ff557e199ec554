"""Torch's operators are read once, for all graphs: the graphs are those of the public function."""

from __future__ import annotations

import pytest
import torch
from torch.onnx._internal.exporter import _core, _registration
from torch.onnx._internal.exporter._registration import ONNXRegistry

from ssm2edge.export import export_offline, export_stream, operator_table
from ssm2edge.lowering.building import OPSET
from tests.small_models import tail, traced


def graphs() -> list[bytes]:
    program = traced(tail(lambda model, x: torch.nn.functional.gelu(model.mix(x)).mean(2)))
    return [export_offline(program).SerializeToString(), export_stream(program, 1)[0].SerializeToString()]


def test_graphs_are_those_of_the_public_function_and_operators_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, read = graphs(), ONNXRegistry.from_torchlib
    reads: list[int] = []

    def counted(opset_version: int) -> ONNXRegistry:
        reads.append(opset_version)
        return read(opset_version=opset_version)

    monkeypatch.setattr(ONNXRegistry, "from_torchlib", staticmethod(counted))
    assert graphs() == expected
    assert not reads
    monkeypatch.setattr(operator_table, "operator_table", lambda: None)
    assert graphs() == expected
    assert reads == [OPSET, OPSET]


@pytest.mark.parametrize("gone", [(_core, "export"), (_registration, "ONNXRegistry"), (ONNXRegistry, "from_torchlib")])
def test_a_torch_without_a_table_uses_the_public_function(gone: tuple[object, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator_table.operator_table() is not None
    monkeypatch.delattr(*gone)
    assert operator_table.operator_table.__wrapped__() is None


def test_a_torch_that_takes_no_table_uses_the_public_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "export", lambda model, args: None)
    assert operator_table.operator_table.__wrapped__() is None
