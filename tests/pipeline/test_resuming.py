"""Builds go on where an interrupted one ended, and end with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssm2edge import pipeline
from ssm2edge.cache import FOLDER
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.original.devices import Processor
from ssm2edge.pipeline import build
from ssm2edge.stages import calibrate as calibrating
from ssm2edge.stages import load as loading
from ssm2edge.stages import reduce as reducing
from ssm2edge.stages.progress import silent
from ssm2edge.stages.resolve import resolve
from tests.model_directories import model_directory
from tests.slow_cases import slow, slow_but

pytestmark = pytest.mark.usefixtures("brief_latencies")

ROOT = Path(__file__).parents[2]
OPTIONS = Options(order=3, method="balanced", calibrate="match", calibration_steps=3, block=4)
CHANGES = ("weights", "samples", "code", "seed", "order", "horizon", "rebuild", "block")
GRAPHS = ("offline.onnx", "stream.onnx", "reference.npz", "probes.npz", "responses.npz")


def run(source: Path, out: Path, options: Options = OPTIONS, **more: Any) -> Path:
    """A build without progress."""
    return build(open_source(str(source)), options, out, True, lambda stage, share: None, **more).directory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("undisturbed")
    source = model_directory(place / "model")
    return source, run(source, place / "out")


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage that is kept may be computed."""

    def computed(*_: object, **__: object) -> Any:
        raise AssertionError("it was finished, but is computed again")

    monkeypatch.setattr(loading, "record_outputs", computed)
    monkeypatch.setattr(reducing, "reduce_layers", computed)
    monkeypatch.setattr(calibrating, "calibrate", computed)


def assert_same(first: Path, second: Path) -> None:
    for name in GRAPHS:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    one, other = (json.loads((place / "manifest.json").read_text()) for place in (first, second))
    for key in set(one) - {"latency", "original", "profile", "files", "source", "seal"}:
        assert one[key] == other[key], key


@pytest.mark.slow
def test_an_interrupted_build_goes_on(undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = undisturbed

    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "export", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    forbid(monkeypatch)
    assert_same(out, run(source, tmp_path / "out"))


@pytest.mark.parametrize("change", slow_but((), CHANGES))
def test_what_a_stage_depends_on_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    source = model_directory(tmp_path / "model")
    computed: list[str] = []

    def counted(name: str, original: Any) -> Any:
        return lambda *given, **more: (computed.append(name), original(*given, **more))[1]

    options = Options(order=3, method="balanced", calibrate="match", calibration_steps=1)
    described = open_source(str(source))
    for module, name in ((loading, "record_outputs"), (reducing, "reduce_layers"), (calibrating, "calibrate")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))

    def stages(options: Options, rebuild: bool = False) -> None:
        """The kept stages of a build alone."""
        store = pipeline.Store.beside(tmp_path / "out", rebuild)
        task, decided, _ = resolve(loading.load(described), options)
        loading.original_outputs(task, task.held_out, Processor(), store, silent)
        reductions, *_ = reducing.reduce(task, decided, store, silent)
        calibrating.calibrate_reductions(task, decided, reductions, store, silent)

    stages(options)
    assert computed == ["record_outputs", "reduce_layers", "calibrate"]
    computed.clear()
    stages(options)
    assert computed == []
    expected: set[str] = {"calibrate"}
    if change == "block":
        options, expected = Options(**{**vars(options), "block": 9}), set()
    elif change == "weights":
        from safetensors.torch import load_file, save_file

        weights = load_file(source / "weights.safetensors")
        save_file({name: value * 1.001 for name, value in weights.items()}, source / "weights.safetensors")
        expected = {"record_outputs", "reduce_layers", "calibrate"}
    elif change == "samples":
        import numpy as np

        with np.load(source / "samples.npz") as held:
            arrays = dict(held)
        arrays["held_out.pixels"][0, 0] += 1
        np.savez(source / "samples.npz", **arrays)
        # Calibration looks at its own samples alone.
        expected = {"record_outputs"}
    elif change == "code":
        (source / "model.py").write_text((source / "model.py").read_text() + "\nMORE = 1\n")
        expected = {"record_outputs", "calibrate"}
    elif change in ("order", "horizon"):
        options = Options(**{**vars(options), change: 2})
        expected = {"reduce_layers", "calibrate"}
    elif change == "seed":
        options = Options(**{**vars(options), "seed": 1})
    else:
        expected = {"record_outputs", "reduce_layers", "calibrate"}
    stages(options, rebuild=change == "rebuild")
    assert set(computed) == expected


SWITCHED = """

class Switched(nn.Module):
    def __init__(self, model, sign):
        super().__init__()
        self.model, self.sign = model, sign

    def forward(self, pixels):
        return self.sign * self.model(pixels)


def switched(sign, **sizes):
    return Switched(make(**sizes), sign)


def positive(**sizes):
    return switched(1.0, **sizes)


def negative(**sizes):
    return switched(-1.0, **sizes)


def from_file(**sizes):
    from pathlib import Path

    return switched(float(Path(__file__).with_name("sign.txt").read_text()), **sizes)
"""


@pytest.mark.parametrize("said", ["by an argument", slow("by the factory's name"), slow("by a file that the factory reads")])
def test_a_model_that_differs_in_a_switch_alone_is_another_model(tmp_path: Path, said: str) -> None:
    directory = model_directory(tmp_path / "model")
    (directory / "model.py").write_text((directory / "model.py").read_text() + SWITCHED)
    (directory / "weights.safetensors").unlink()
    text = (directory / "build.toml").read_text().replace('weights = "weights.safetensors"', "")

    def answers(factory: str, arguments: str, sign: str) -> np.ndarray:
        (directory / "sign.txt").write_text(sign)
        chosen = text.replace("make", factory).replace("{ ", "{ " + arguments)
        (directory / "build.toml").write_text(chosen)
        torch.manual_seed(0)
        store = pipeline.Store.beside(tmp_path / "out", False)
        task = loading.load(open_source(str(directory)))
        return loading.original_outputs(task, task.held_out, Processor(), store, silent)["output"]

    given = {
        "by the factory's name": (("positive", "", ""), ("negative", "", "")),
        "by an argument": (("switched", "sign = 1.0, ", ""), ("switched", "sign = -1.0, ", "")),
        "by a file that the factory reads": (("from_file", "", "1"), ("from_file", "", "-1")),
    }[said]
    first, second = (answers(*choice) for choice in given)
    np.testing.assert_array_equal(first, -second)


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_broken(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    command = [sys.executable, str(ROOT / "scripts/try_killing.py"), "--trials", "2", "--source", str(source), "--order", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 builds killed" in done.stdout
