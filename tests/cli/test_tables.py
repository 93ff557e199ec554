"""What people read of layers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ssm2edge.stages.inspect import LayerReport
from ssm2edge.tables.layers import show_layers


@pytest.mark.parametrize(
    ("channels", "kind", "words"), [(1, "MIMO", "MIMO, one system of order 8"), (3, "SISO bank", "3 channels of")]
)
def test_one_system_is_not_told_to_be_channels(channels: int, kind: str, words: str) -> None:
    report = LayerReport(
        name="layer", library="L", kind=kind, channels=channels, order=8, parameters=100, horizon=None, spectral_radius=0.9,
        h2_norm=1.0, hankel_decay={}, costs={}, plan="", plans=(),
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=160)
    show_layers(console, [report])
    assert words in console.file.getvalue()  # type: ignore[attr-defined]
