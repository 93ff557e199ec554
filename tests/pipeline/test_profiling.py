"""Profiles of graphs: what stands in their way is told."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.errors import UserError
from ssm2edge.stages.profile import CALLS, profile_graph
from tests.first_order import build


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
