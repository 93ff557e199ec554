"""Model directories whose layers come from PyPI packages, from more than one of them, and from JAX end in verified artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ssm2edge.artifact import Manifest, open_artifact
from ssm2edge.errors import UserError
from ssm2edge.layers import blocks
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.original.recording import count_parameters
from ssm2edge.pipeline import build, load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.runtime import Model, Stream
from ssm2edge.stages.feedthrough import in_form
from tests import flax_trees, package_models
from tests.model_directories import samples

pytestmark = pytest.mark.usefixtures("brief_latencies")

PLACE = Path(package_models.__file__)


def directory(place: Path, factory: str, arguments: str, metric: bool = True) -> Path:
    """A model directory without weights: the factory's own, from a fixed seed."""
    place.mkdir()
    text = f'[model]\nfactory = "model.py:{factory}"\narguments = {{ {arguments} }}\n\n[samples]\nfile = "samples.npz"\n'
    (place / "build.toml").write_text(text + ('\n[task]\nmetric = "accuracy"\n' if metric else ""), encoding="utf-8")
    (place / "model.py").write_text(PLACE.read_text(encoding="utf-8"), encoding="utf-8")
    np.savez(place / "samples.npz", **{k: v for k, v in samples().items() if metric or k != "labels"})
    return place


JAX = """
from pathlib import Path

from torch import nn

from ssm2edge.layers import s5_model_from_flax
from ssm2edge.loading import read_flax_tree


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = s5_model_from_flax(read_flax_tree(Path(__file__).parent / "params.msgpack"), activation="half_glu2")

    def forward(self, pixels):
        return self.model(pixels)


def make():
    return Classifier()
"""


def built(source: Path, out: Path, options: Options) -> Manifest:
    return build(open_source(str(source)), options, out, False, lambda stage, share: None).manifest


@pytest.mark.slow
def test_a_full_feedthrough_is_held_where_it_is_asked_for(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", 'network = "s5"')
    own, full, fitting = (
        built(source, tmp_path / kind, Options(order=2, method="balanced", feedthrough=kind, calibrate="none"))
        for kind in ("own", "full", "fitting")
    )
    width, layers = 6, 2
    assert full.parameters.ssm_after - own.parameters.ssm_after == layers * (width * width - width)
    assert full.options["feedthrough"] == "full"
    assert own.options["feedthrough"] == "own"
    assert "feedthrough" not in fitting.options
    assert full.parameters.ssm_after <= full.parameters.ssm_before
    assert fitting.parameters.ssm_after == full.parameters.ssm_after


def test_a_full_feedthrough_is_held_only_by_layers_that_do_not_grow(tmp_path: Path) -> None:
    loaded = load(open_source(str(directory(tmp_path / "model", "make", 'network = "s5"'))))
    stored = sum(layer.parameters for layer in loaded.layers.values())
    forms = []
    for order in range(1, max(system.order for system in loaded.systems.values()) + 1):
        orders = {name: min(order, system.order) for name, system in loaded.systems.items()}
        formed = in_form(loaded, "fitting", orders)
        reductions = reduce_layers(formed.systems, orders, "modal", None)
        reduced = formed.replaced({name: reduction.system for name, reduction in reductions.items()})
        assert sum(count_parameters(block) for block in blocks(reduced).values()) <= stored
        forms.append({system.after_sample for system in formed.systems.values()})
    assert forms[0] == {False}
    assert forms[-1] == {True}


def test_an_unknown_feedthrough_is_refused(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", 'network = "s5"')
    with pytest.raises(UserError, match="no feedthrough 'dense'"):
        built(source, tmp_path / "other", Options(order=2, feedthrough="dense", calibrate="none"))


def whole_and_streamed(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the artifact answers to the held-out samples; the second as its stream leaves it after the last sample."""
    pixels = samples()["held_out.pixels"]
    with Model(out) as model:
        whole = model.run({"pixels": pixels})["output"]
    with Stream(out, len(pixels)) as stream:
        parts = [stream.push({"pixels": pixels[:, k : k + 1]})["output"] for k in range(pixels.shape[1])]
    return whole, parts[-1] if whole.ndim == 2 else np.concatenate(parts, axis=1)


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "order", "libraries"),
    [("s5", 8, ["s5-pytorch", "s5-pytorch"]), ("lru", 8, ["LRU", "LRU"]), ("mixed", 6, ["S4D", "s5-pytorch"])],
)
def test_at_full_order_both_graphs_are_the_packages_model(tmp_path: Path, network: str, order: int, libraries: list[str]) -> None:
    source = directory(tmp_path / "model", "make", f'network = "{network}"', metric=network != "lru")
    manifest = built(source, tmp_path / "out", Options(order=order, calibrate="none"))
    assert [layer.library for layer in manifest.layers] == libraries
    assert manifest.streaming.available
    with torch.no_grad():
        expected = package_models.make(network).eval()(torch.from_numpy(samples()["held_out.pixels"])).numpy()
    for answer in whole_and_streamed(tmp_path / "out"):
        assert relative(answer, expected) < 2e-5


@pytest.mark.slow
def test_reduced_and_matched_builds_of_two_libraries_are_verified_and_smaller(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", 'network = "mixed"')
    manifest = built(source, tmp_path / "out", Options(order=4, calibrate="match", calibration_steps=4))
    assert [(layer.order_before, layer.order_after) for layer in manifest.layers] == [(6, 4), (6, 4)]
    assert manifest.parity["passed"]
    assert manifest.parameters.ssm_after < manifest.parameters.ssm_before
    assert open_artifact(tmp_path / "out").manifest.layers == manifest.layers


@pytest.mark.slow
def test_bidirectional_blocks_are_built_whole_and_the_manifest_says_why(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", 'network = "s5", bidir = true')
    manifest = built(source, tmp_path / "out", Options(order=4, method="balanced", calibrate="none"))
    assert [layer.name for layer in manifest.layers[:2]] == ["blocks.0.s5.causal", "blocks.0.s5.anticausal"]
    assert all((layer.order_before, layer.order_after) == (8, 4) for layer in manifest.layers)
    assert (manifest.streaming.available, manifest.states) == (False, ())
    assert manifest.streaming.reason is not None
    assert "layer blocks.0.s5 runs from the end of the sequence to its start" in manifest.streaming.reason


def test_layers_that_are_not_lti_are_named_where_they_cannot_be_exported(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", 'network = "liquid"')
    with pytest.raises(UserError, match=r"cannot be exported.*exported as they are: second \(liquid S5\)\.$"):
        built(source, tmp_path / "out", Options(order=4, method="balanced", calibrate="none"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_models_from_jax_are_built_from_their_parameter_file(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", "make", "")
    tree = flax_trees.model(1, 4, 3, 3, "half_glu2", True)
    (source / "model.py").write_text(JAX, encoding="utf-8")
    (source / "params.msgpack").write_bytes(flax_trees.packed(tree))
    manifest = built(source, tmp_path / "out", Options(order=6, calibrate="none"))
    assert [layer.library for layer in manifest.layers] == ["S5", "S5"]
    expected = np.stack([flax_trees.run_model(tree, u, "half_glu2", True) for u in samples()["held_out.pixels"]])
    for answer in whole_and_streamed(tmp_path / "out"):
        assert relative(answer, expected) < 2e-5
