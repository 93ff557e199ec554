"""A layer cut out of a graph gives what the whole graph gives there, and asks for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssm2edge.export import export_offline
from ssm2edge.runtime import EdgeError, Model
from ssm2edge.verification.parts import Layer
from tests.small_models import CHANNELS, tail, traced
from tests.verification.response_cases import MODELS, Case, close


@pytest.mark.slow
def test_part_of_a_graph_gives_what_the_whole_gives_there(case: Callable[[str], Case]) -> None:
    for kind in ("S4D", "quadratic outputs", "S4, both directions"):
        made = case(kind)
        inputs, outputs = made.subject.model.layer_inputs, made.subject.model.layers
        u = np.random.default_rng(0).standard_normal((3, 57, MODELS[kind][1])).astype(np.float32)
        with Model(made.graph, exposed=tuple(dict.fromkeys([*inputs.values(), *outputs.values()]))) as model:
            seen = model.run(u)
        for call, target in outputs.items():
            close(made.layer(call).run(seen[inputs[call]]), seen[target], 1e-6)


@pytest.mark.slow
def test_part_of_a_graph_whose_time_comes_last_asks_for_its_own_length(tmp_path: Path) -> None:
    path = tmp_path / "offline.onnx"
    onnx.save(export_offline(traced(tail(lambda module, y: module.layer(y)[0]))), path)
    with Model(path) as model:
        (first, second), outputs = model.layer_inputs.values(), list(model.layers.values())
    u = np.random.default_rng(0).standard_normal((2, CHANNELS, 61)).astype(np.float32)
    with Model(path, exposed=(first, second, *outputs)) as model:
        seen = model.run(u)
    for source, target in zip((first, second), outputs, strict=True):
        close(Layer(path, source, target).run(seen[source]), seen[target], 1e-6)
        # Another batch and length than any before.
        assert Layer(path, source, target).run(seen[source][:1, :17]).shape == (1, 17, CHANNELS)


def test_part_that_needs_more_than_its_input_is_refused(case: Callable[[str], Case]) -> None:
    made = case("S4D")
    inputs, outputs = made.subject.model.layer_inputs, made.subject.model.layers
    with pytest.raises(EdgeError, match="does not follow from"):
        Layer(made.graph, outputs["layers.1"], outputs["layers.0"])
    with pytest.raises(EdgeError, match="too"):
        Layer(made.graph, inputs["layers.1"], made.subject.model.outputs[0].name)
    with pytest.raises(EdgeError, match="could not run"):
        made.layer("layers.0").run(np.zeros((1, 5, 9), np.float32))
