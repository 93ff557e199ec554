"""The manifest survives the way to JSON and back, and nothing that differs from its layout is read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm2edge.artifact import ArtifactError, FileRecord, Manifest
from ssm2edge.artifact.manifest import from_json, to_json
from tests.first_order import manifest, reference, stream_graph


def full() -> Manifest:
    written = manifest(reference(True), stream_graph(True, 4), 4)
    return dataclasses.replace(
        written,
        files={"offline.onnx": FileRecord("0" * 64, 12)},
        calibration={"before": 0.2, "after": 0.1, "best_step": 125.0},
        bound={"value": 0.5, "certified": False, "layers": [1, 2.5, None]},
        parity={"passed": True, "checks": []},
    )


def changed(path: str, value: Any) -> str:
    """Text of the manifest with one value replaced, or removed where the value is ``...``."""
    plain = json.loads(to_json(full()))
    *parents, last = path.split(".")
    place = plain
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(plain)


def test_read_back_it_is_the_same_value() -> None:
    assert from_json(to_json(full())) == full()
    bare = dataclasses.replace(
        full(), accuracy=None, latency=None, parity=None, bound=None, calibration=None, task=None, layers=(), states=()
    )
    assert from_json(to_json(bare)) == bare


def test_same_value_gives_the_same_text() -> None:
    assert to_json(full()) == to_json(from_json(to_json(full())))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", 1, "schema 1"),
        ("schema", 0, "schema 0"),
        ("schema", "2", "schema 2, but"),
        ("schema", True, "schema True"),
        ("schema", ..., "no schema"),
        ("layers", ..., "lacks the key 'layers'"),
        ("surplus", 1, "unknown key 'surplus'"),
        ("layers.0.surplus", 1, r"layers\[0\] has the unknown key"),
        ("layers.0.horizon", ..., r"layers\[0\] lacks the key 'horizon'"),
        ("layers.0.horizon", 1.5, "horizon should be int"),
        ("layers.0.channels", True, "channels should be int"),
        ("layers.0.h2_error", "small", "h2_error should be a finite number"),
        ("layers.0.outcomes.converged", 1.0, "outcomes.converged should be int"),
        ("layers", {}, "layers should be list"),
        ("accuracy", [], "accuracy should be dict"),
        ("streaming.available", 1, "available should be bool"),
        ("states.0.shape", [1, "2"], r"shape\[1\] should be int"),
        ("latency.ratios.offline", 0.5, "ratios.offline should be dict"),
        ("files.offline\\onnx", {"sha256": 1, "bytes": 1}, "sha256 should be str"),
        ("options", None, "options should be dict"),
    ],
)
def test_other_layouts_are_refused_by_the_name_of_the_place(path: str, value: Any, said: str) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        from_json(changed(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"schema"',
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"schema": NaN}',
        '{"schema": 1e999}',
        '{"schema": ' + "9" * 5000 + "}",
    ],
)
def test_texts_that_are_no_manifest_are_refused(text: str | bytes) -> None:
    with pytest.raises(ArtifactError):
        from_json(text)


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999"])
def test_figures_that_are_not_finite_are_neither_written_nor_read(figure: str) -> None:
    layer = dataclasses.replace(full().layers[0], h2_error=float(figure.lower()))
    with pytest.raises(ArtifactError, match="cannot be written"):
        to_json(dataclasses.replace(full(), layers=(layer,)))
    with pytest.raises(ArtifactError):
        from_json(changed("layers.0.h2_error", 0.123456).replace("0.123456", figure))


def test_values_that_json_has_no_word_for_are_not_written() -> None:
    with pytest.raises(ArtifactError, match="cannot be written"):
        to_json(dataclasses.replace(full(), options={"out": Path("x")}))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_never_goes_unnoticed(data: st.DataObject) -> None:
    """A changed bit is refused, or is in white space, which says nothing."""
    content = bytearray(to_json(full()).encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(ArtifactError):
        assert from_json(bytes(content)) == full()


@pytest.mark.parametrize(
    ("path", "figure"),
    [
        ("latency.artifact", 2.5e-3),
        ("parity.passed", False),
        ("bound.value", 0.51),
        ("parameters.model_after", 7),
        ("options.order", 9),
    ],
)
def test_a_changed_figure_breaks_the_seal(path: str, figure: object) -> None:
    """Also one that `verify` does not compute again."""
    with pytest.raises(ArtifactError, match="seal"):
        from_json(changed(path, figure))
