"""A user's choice of kernel forms: it is followed, changes no value, and is refused where it names nothing that there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge.export import choose_forms, export_offline, export_stream
from ssm2edge.traced import ExportError, TracedModel
from tests.onnx_sessions import session
from tests.slow_cases import slow
from tests.small_models import CHANNELS, tail, traced

Array = NDArray[np.float32]

LENGTH = 32


def chosen(text: str, pattern: str = "layer") -> TracedModel:
    form = traced(tail(lambda model, y: y))
    choose_forms(form, {pattern: text})
    return form


def constants(model: onnx.ModelProto) -> list[list[Any]]:
    values = [a for node in model.graph.node for a in node.attribute if node.op_type == "Constant" and a.name == "value_ints"]
    return [list(attribute.ints) for attribute in values]


def close(model: onnx.ModelProto, states: dict[str, Array]) -> None:
    u = np.random.default_rng(0).standard_normal((2, CHANNELS, LENGTH)).astype(np.float32)
    with torch.no_grad():
        expected = tail(lambda model, y: y)(torch.from_numpy(u)).numpy()
    run = session(model)
    np.testing.assert_allclose(run.run(None, {"u": u, **states})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [5, slow(64)])
def test_chunks_of_whole_sequences(chunk: int) -> None:
    model = export_offline(chosen(f"sequence:{chunk}"))
    assert [0, 0, -1, chunk] in constants(model)
    close(model, {})


@pytest.mark.parametrize(("text", "operator"), [("elementwise:8", "Conv"), slow("chunked:16", "MatMul")])
def test_forms_of_blocks(text: str, operator: str) -> None:
    model, states = export_stream(chosen(text, "lay*"), LENGTH)
    assert sum(node.op_type == operator for node in model.graph.node) >= LENGTH // int(text.partition(":")[2])
    close(model, {state.input_name: np.zeros((2, *state.shape), np.float32) for state in states})


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ExportError, match="names encoder, but the layers are layer"):
        chosen("sequence:8", "encoder")


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ExportError, match="no kernel form"):
        chosen("fft")


def test_a_form_that_the_layer_does_not_have_is_refused() -> None:
    with pytest.raises(ExportError, match="cannot be computed as unrolled"):
        export_stream(chosen("unrolled"), LENGTH)
