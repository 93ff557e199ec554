"""Without any sample, a shape is enough: builds calibrate on synthetic signals, and say that they did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ssm2edge
from models.digits.model import S4D
from models.sysid.model import make as make_sysid
from ssm2edge.artifact import open_artifact
from ssm2edge.errors import UserError
from ssm2edge.layers import blocks
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.original.calling import answer_of
from ssm2edge.pipeline import load
from ssm2edge.stages.resolve import resolve
from ssm2edge.tables.artifact import closing
from tests.command_line import call
from tests.model_directories import BUILD, model_directory

pytestmark = pytest.mark.usefixtures("brief_latencies")

QUICK = ("--calibrate", "match", "--calibration-steps", 2)


class Reader(nn.Module):
    """Reads symbols through one S4D layer and answers once, from the part that a mask lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer, self.head = nn.Embedding(9, 4), S4D(4, 6), nn.Linear(4, 3)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        y = self.layer(self.table(text).transpose(1, 2))[0].transpose(1, 2) * mask[..., None]
        answer: Tensor = self.head(y.sum(1) / mask.sum(1, keepdim=True))
        return answer


@pytest.mark.slow
def test_a_build_from_a_shape_says_what_it_was_calibrated_and_verified_on(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    (source / "samples.npz").unlink()
    arguments = ("--shape", "24,1", "--scale", "pixels=0.5,2", "--order", 2, *QUICK)
    result = call("build", source, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "match on 2,048 synthetic sequences" in words
    assert "accuracy is unknown" in words
    artifact = open_artifact(tmp_path / "out")
    manifest = artifact.manifest
    assert manifest.accuracy is None
    assert dict(manifest.calibrated_on) == {"synthetic": 2048}
    assert manifest.options["shape"] == "24,1"
    assert manifest.options["scale"] == {"pixels": [0.5, 2.0]}
    held_out = artifact.reference.inputs["pixels"]
    np.testing.assert_allclose((held_out.mean(), held_out.std()), (0.5, 2), rtol=1e-3)
    again = json.loads(call("verify", tmp_path / "out", "--json").stdout)
    said = {check["name"]: check["detail"] for check in again["checks"]}
    assert "64 synthetic samples" in said["offline.parity"]
    assert not any("held-out" in detail for detail in said.values())
    built = ssm2edge.open(tmp_path / "out")
    verdict = built.verify().verdict
    lines = [line.plain for line in closing(built.directory, manifest, verdict, 1.0)]
    assert len(lines) <= 6
    assert lines[0].startswith("Held out: synthetic sequences")


@pytest.mark.slow
def test_the_shape_in_build_toml_is_the_same_build(tmp_path: Path) -> None:
    found = []
    for name, shape in (("option", False), ("file", True)):
        source = model_directory(tmp_path / name)
        (source / "samples.npz").unlink()
        if shape:
            text = (source / "build.toml").read_text()
            (source / "build.toml").write_text(text.replace('file = "samples.npz"', "shape = [24, 1]\nscale = [0.5, 2]"))
        given = () if shape else ("--shape", "24,1", "--scale", "0.5,2")
        result = call("build", source, "--out", tmp_path / f"{name}-out", *given, *QUICK)
        assert result.exit_code == 0, result.output
        found.append(open_artifact(tmp_path / f"{name}-out"))
    one, other = found
    assert {key: one.manifest.options[key] for key in ("shape", "scale")} == {"shape": "24,1", "scale": [0.5, 2]}
    assert one.manifest.options == other.manifest.options
    for name in one.reference.reduced:
        np.testing.assert_array_equal(one.reference.reduced[name], other.reference.reduced[name])


@pytest.mark.slow
def test_symbols_and_masks_calibrate(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"text": "30:tokens", "mask": "30:mask"}
    built = ssm2edge.build(Reader(), out=tmp_path / "out", shape=shape, order=2, calibration_steps=2)
    assert dict(built.manifest.calibrated_on) == {"synthetic": 2048}
    assert built.manifest.options["shape"] == shape


@pytest.mark.slow
def test_a_module_is_compressed_from_a_shape_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), ssm2edge.layers.S5(4, 8), nn.Linear(4, 1))
    small = [ssm2edge.compress(model, shape=(12, 2), order=4, calibration_steps=1, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (blocks(one)["1"].system() for one in small)
    torch.testing.assert_close(first.C, again.C, rtol=0, atol=0)
    assert first.order == 4
    assert not torch.equal(first.C, other.C)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "fitted"), [(None, False), ("accuracy", False), ("nrmse", True)])
def test_quadratic_outputs_are_fitted_to_drawn_signals_only_where_outputs_are_compared(metric: str | None, fitted: bool) -> None:
    torch.manual_seed(0)
    model = make_sysid(width=4, states=8, rank=2, layers=2).eval()
    plain, calibrated = (
        blocks(ssm2edge.compress(model, shape=(12, 1), order=3, metric=metric, calibrate=kind)) for kind in ("none", "spectrum")
    )
    for name, block in plain.items():
        found = torch.cat([block.system().C.flatten(), calibrated[name].system().C.flatten()])
        assert torch.equal(*found.chunk(2)) is not fitted


@pytest.mark.parametrize(
    ("metric", "given", "steps"), [("accuracy", {}, 150), ("nrmse", {}, 400), ("nrmse", {"calibration_steps": 7}, 7)]
)
def test_matching_goes_on_for_longer_where_signals_are_drawn_and_outputs_are_compared(
    tmp_path: Path, metric: str, given: dict[str, int], steps: int
) -> None:
    text = BUILD.replace('metric = "accuracy"', f'metric = "{metric}"')
    assert metric in text
    task = load(open_source(str(model_directory(tmp_path / "model", text)), shape="24,1"))
    _, options, _ = resolve(task, Options(order=2, **given))
    assert (options.calibrate, options.calibration_steps) == ("match", steps)


def test_layers_are_inspected_from_a_shape_and_from_nothing_but_a_horizon(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    (source / "samples.npz").unlink()
    for given, horizon in ((("--shape", "24,1"), 24), (("--shape", "24,1", "--horizon", 9), 9)):
        result = call("inspect", source, "--json", *given)
        assert result.exit_code == 0, result.output
        assert [layer["horizon"] for layer in json.loads(result.stdout)["layers"]] == [horizon] * 2
    (source / "small.py").write_text("from model import make as large\ndef make():\n    return large(4, 6, 1)\n")
    result = call("inspect", f"{source}/small.py:make", "--horizon", 17, "--json")
    assert result.exit_code == 0, result.output
    assert {layer["horizon"] for layer in json.loads(result.stdout)["layers"]} == {17}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shape", "24,1", "--samples", "x.npz"), "give one of them"),
        (("--shape", "24;1"), "is no shape"),
        (("--shape", "words=24,1"), "the model takes pixels"),
        (("--shape", "24,1", "--scale", "1,0"), "no mean and deviation"),
        (("--shape", "24,7"), "cannot take the samples"),
        (("--shape", "24,1", "--max-drop", "1"), "needs labels"),
    ],
)
def test_shapes_that_cannot_be_used_leave_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    source = model_directory(tmp_path / "model")
    result = call("build", source, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "names", "mend"),
    [(nn.Embedding(20, 4), ("tokens",), "--shape 64:tokens"), (Reader(), ("text", "mask"), "--shape text=64:tokens")],
)
def test_numbers_for_a_model_of_tokens_are_refused_with_the_shape_of_tokens(
    model: nn.Module, names: tuple[str, ...], mend: str
) -> None:
    inputs = {name: torch.randn(1, 64, 2) for name in names}
    with pytest.raises(UserError, match=f"it looks up tokens: give samples of integers, or the shape {mend}"):
        answer_of(model, list(inputs.values()), {}, inputs)
    with pytest.raises(UserError, match="give samples of the shape and type it was trained on"):
        answer_of(nn.Linear(3, 1), list(inputs.values())[:1], {}, inputs)
