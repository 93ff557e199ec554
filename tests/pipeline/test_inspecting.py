"""The columns of `inspect` are those of the method that a build would use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssm2edge.layers import find_layers
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.norms import h2_norm
from tests.command_line import call
from tests.model_directories import LENGTH, model_directory, tiny_model
from tests.slow_cases import slow


@pytest.mark.parametrize("method", [slow("gradient"), "modal"])
def test_costs_are_the_errors_of_the_method_of_a_build(tmp_path: Path, method: str) -> None:
    source = model_directory(tmp_path / "model")
    with (source / "build.toml").open("a") as file:
        file.write(f'method = "{method}"\n')
    found = json.loads(call("inspect", source, "--json").stdout)["layers"]
    for layer, known in zip(found, find_layers(tiny_model()), strict=True):
        assert layer["method"] == method
        assert layer["at_most"] == ([3] if method == "gradient" else [])
        norm = float(h2_norm(known.system, LENGTH).norm())
        for order, cost in layer["costs"].items():
            error = float(reduce_system(known.system, int(order), method, LENGTH).error.norm()) / norm
            if int(order) in layer["at_most"]:
                assert error <= cost * (1 + 1e-6) <= 1 + 1e-6
            else:
                assert cost == pytest.approx(error, rel=1e-6)
    text = call("inspect", source).stdout
    assert f"relative h2 error of {method}" in text
    assert ("at most" in text) == (method == "gradient")
