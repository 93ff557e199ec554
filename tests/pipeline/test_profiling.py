"""Profiles of graphs: what stands in their way is told."""

from __future__ import annotations

import resource
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ssm2edge.errors import UserError
from ssm2edge.export import export_offline, export_stream
from ssm2edge.export.ownership import TOGETHER
from ssm2edge.stages.profile import CALLS, profile_graph
from ssm2edge.traced import InputAxes, trace
from tests.first_order import build
from tests.layers_alike import Frozen
from tests.small_models import replaced


def test_full_place_of_temporary_files_is_told(tmp_path: Path) -> None:
    graph, feed = build(tmp_path / "build") / "offline.onnx", {"u": np.zeros((1, 9, 1), np.float32)}
    assert profile_graph(graph, [], feed, 9).calls == CALLS
    # A limit on the size of files is a full disk that any user can have; Python ignores its signal.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        with pytest.raises(UserError, match=r"offline\.onnx cannot be profiled in .*TMPDIR"):
            profile_graph(graph, [], feed, 9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_time_is_told_by_layers_that_share_their_poles(tmp_path: Path) -> None:
    torch.manual_seed(0)
    form = trace(replaced(Frozen(3).eval()), [InputAxes("u", 1, torch.zeros(1, 5, 2))])
    block, states = export_stream(form, 16)
    onnx.save(export_offline(form), tmp_path / "offline.onnx")
    onnx.save(block, tmp_path / "stream.onnx")
    feeds = {
        "offline.onnx": {"u": np.zeros((1, 300, 2), np.float32)},
        "stream.onnx": {"u": np.zeros((1, 16, 2), np.float32)}
        | {state.input_name: np.zeros((1, *state.shape), np.float32) for state in states},
    }
    names = [f"layers.{index}" for index in range(3)]
    for graph, feed in feeds.items():
        nodes = Counter[str]()
        for share in profile_graph(tmp_path / graph, names, feed, 16).shares:
            nodes[share.layer] += share.nodes
        counts = {nodes[name] for name in names}
        assert len(counts) == 1
        assert min(counts) >= 5
        assert set(nodes) <= {*names, TOGETHER, ""}
