"""`--max-bytes`, `--max-ram` and `--max-latency` keep as many states as a device holds, and say what is out of reach."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ssm2edge import pipeline
from ssm2edge.errors import UserError
from ssm2edge.firmware.ram import ram_of
from ssm2edge.loading import open_source
from ssm2edge.options import bytes_of
from ssm2edge.orders import Judged, choose_reductions
from ssm2edge.orders.request import Request
from ssm2edge.stages.load import load
from tests.command_line import call
from tests.model_directories import BUILD, model_directory
from tests.slow_cases import slow

pytestmark = pytest.mark.usefixtures("brief_latencies")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("budgets") / "model", BUILD.replace("order = 6", 'method = "balanced"'))


@pytest.fixture(scope="module")
def judged(source: Path) -> Judged:
    return Judged(load(open_source(str(source))), {}, "balanced")


@pytest.mark.parametrize("states", range(8, 49, 8))
def test_the_largest_that_fits_is_kept(judged: Judged, states: int) -> None:
    """Graphs that cost a hundred bytes a state, and a thousand more."""
    measured = dataclasses.replace(
        judged, cost=lambda reductions: 1000 + 100 * sum(4 * reduction.order for reduction in reductions.values())
    )
    reductions, selection = choose_reductions(Request(max_bytes=1000 + 100 * states + 99), measured, lambda step: None)
    assert selection is None
    assert sum(4 * reduction.order for reduction in reductions.values()) == states
    in_memory, _ = choose_reductions(Request(max_ram=1000 + 100 * states), measured, lambda step: None)
    assert {name: one.order for name, one in in_memory.items()} == {name: one.order for name, one in reductions.items()}
    with pytest.raises(UserError, match=r"the largest has 1,800"):
        choose_reductions(Request(max_bytes=1799), measured, lambda step: None)
    with pytest.raises(UserError, match=r"1,799 bytes of RAM as C: with one state a channel it takes 1,800"):
        choose_reductions(Request(max_ram=1799), measured, lambda step: None)
    kept, _ = choose_reductions(Request(max_latency=1e6), measured, lambda step: None)
    assert all(reduction.order == 6 for reduction in kept.values())


def test_bytes_are_read_with_their_units() -> None:
    assert [bytes_of(text) for text in (None, 7, "7", "96k", "2M")] == [None, 7, 7, 96 * 1024, 2 * 1024**2]
    for wrong in ("", "k", "1.5M", "-3", "3T"):
        with pytest.raises(UserError, match="such as 98304 or 96k"):
            bytes_of(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        slow(("--max-bytes", "1k"), "with one state a channel the largest has"),
        slow(("--max-latency", "0.001"), "with one state a channel it takes"),
        slow(("--max-ram", "600"), "with one state a channel it takes"),
        (("--max-bytes", "0"), "above 0"),
        (("--max-ram", "0"), "above 0"),
        (("--max-bytes", "many"), "such as 98304 or 96k"),
        (("--max-bytes", "96k", "--keep", "0.5"), "in one way"),
    ],
)
def test_what_is_out_of_reach_is_said_in_one_sentence(
    source: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = call("build", source, "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["--max-bytes", "--max-ram"])
def test_it_is_refused_before_the_original_runs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    def run(*given: object) -> None:
        raise AssertionError("the original ran")

    monkeypatch.setattr(pipeline, "original_outputs", run)
    result = call("build", source, "--out", tmp_path / "out", limit, "600")
    assert result.exit_code == 2
    assert "with one state a channel" in result.stderr


@pytest.mark.slow
def test_the_published_graphs_hold_the_budget_and_keep_what_fits(source: Path, tmp_path: Path) -> None:
    sizes = {}
    for order in (2, 3):
        assert call("build", source, "--out", tmp_path / str(order), "--order", order, "--json").exit_code == 0
        sizes[order] = max(path.stat().st_size for path in (tmp_path / str(order)).glob("*.onnx"))
    assert sizes[2] < sizes[3]
    limit = (sizes[2] + sizes[3]) // 2
    result = call("build", source, "--out", tmp_path / "out", "--max-bytes", limit, "--json")
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)["manifest"]
    assert max(record["bytes"] for name, record in manifest["files"].items() if name.endswith(".onnx")) <= limit
    # As many states as fit at equal orders; whether one more does depends on the layer that gets it.
    assert sum(layer["order_after"] for layer in manifest["layers"]) >= 2 * 2
    (check,) = (check for check in manifest["parity"]["checks"] if check["name"] == "budget.bytes")
    assert check["limit"] == limit
    assert np.isfinite(check["figure"])
    timed = call("build", source, "--out", tmp_path / "timed", "--max-latency", 1e5, "--json")
    assert timed.exit_code == 0, timed.output
    (check,) = (c for c in json.loads(timed.stdout)["manifest"]["parity"]["checks"] if c["name"] == "budget.latency")
    assert 0 < check["figure"] <= 1e5
    # What no limit asked for is not checked again.
    verified = call("verify", tmp_path / "out", "--json")
    assert verified.exit_code == 0
    assert not re.search("budget", verified.stdout)


@pytest.mark.slow
def test_the_c_form_of_what_is_published_runs_in_its_ram(source: Path, tmp_path: Path) -> None:
    needed = {}
    for order in (2, 4):
        assert call("build", source, "--out", tmp_path / str(order), "--order", order, "--json").exit_code == 0
        needed[order] = ram_of(tmp_path / str(order) / "stream.onnx", None)
    assert needed[2] < needed[4]
    limit = (needed[2] + needed[4]) // 2
    result = call("build", source, "--out", tmp_path / "out", "--max-ram", limit, "--json")
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)["manifest"]
    assert ram_of(tmp_path / "out" / "stream.onnx", None) <= limit
    assert sum(layer["order_after"] for layer in manifest["layers"]) >= 2 * 2
    (check,) = (check for check in manifest["parity"]["checks"] if check["name"] == "budget.ram")
    assert (check["limit"], check["passed"]) == (limit, True)
