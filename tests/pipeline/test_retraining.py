"""A build trains its compressed model further by a function of the user's."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssm2edge
from ssm2edge.cache import Store
from ssm2edge.errors import UserError
from ssm2edge.loading import open_source
from ssm2edge.loading.functions import beside, import_code
from ssm2edge.options import Options
from ssm2edge.pipeline import load
from ssm2edge.runtime import Model
from ssm2edge.stages.budgets import excess_of
from ssm2edge.stages.compress import compress
from ssm2edge.stages.progress import silent
from ssm2edge.stages.resolve import resolve
from ssm2edge.stages.retrain import retrain, trainer_of
from ssm2edge.sweeps.cells import Cells
from ssm2edge.sweeps.plan import read_plan
from tests.command_line import call, stages
from tests.model_directories import BUILD, model_directory, samples, tiny_model

pytestmark = pytest.mark.usefixtures("brief_latencies")

SMALL = BUILD.replace("order = 6", "order = 4")
TRAIN = """
import os
from pathlib import Path

import torch

print("the file is imported")


def lift(model):
    with Path(__file__).with_name("runs").open("a") as runs:
        runs.write("run ")
    with torch.no_grad():
        model.decoder.bias[1] += 2.0


def drawn(model, seed):
    with torch.no_grad():
        model.decoder.bias += torch.rand(10) + seed
    return model


def prints(model):
    import neighbour

    print("epoch 1", torch.get_num_threads())
    lift(model)


def unsettles(model):
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")


def averages(model):
    lift(model)
    return torch.compile(torch.optim.swa_utils.AveragedModel(model.bfloat16()))


def fails(model):
    raise ValueError("no data")


def returns_a_number(model):
    return 3.0


def overflows(model):
    with torch.no_grad():
        model.decoder.bias.fill_(torch.inf)


def other(model):
    return torch.nn.Linear(2, 2)


def adds(model):
    model.more = torch.nn.Linear(2, 2)
"""


def with_functions(place: Path, build: str = SMALL) -> Path:
    """A tiny model with functions that train it."""
    source = model_directory(place, build)
    (source / "train.py").write_text(TRAIN)
    (source / "neighbour.py").write_text("")
    return source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_functions(tmp_path_factory.mktemp("retrained") / "model")


def build(source: Path, out: Path, function: str, *more: Any) -> Any:
    return call("build", source, "--out", out, "--retrain", f"{source / 'train.py'}:{function}", *more)


def answers(artifact: Path) -> Any:
    with Model(artifact / "offline.onnx") as model:
        (output,) = model.run({"pixels": samples()["held_out.pixels"]}).values()
        return output


@pytest.fixture(scope="module")
def lifted(source: Path, brief_latencies: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The retrained artifact."""
    out = tmp_path_factory.mktemp("lifted") / "out"
    result = build(source, out, "lift")
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
def test_the_artifact_computes_what_the_function_left(source: Path, lifted: Path, tmp_path: Path) -> None:
    assert call("build", source, "--out", tmp_path / "plain").exit_code == 0
    difference = answers(lifted) - answers(tmp_path / "plain")
    np.testing.assert_allclose(difference, np.broadcast_to(2.0 * np.eye(10)[1], difference.shape), atol=1e-5)
    manifest = json.loads((lifted / "manifest.json").read_text())
    assert manifest["options"]["retrain"].endswith("train.py:lift")
    page = (lifted / "report.html").read_text()
    assert "then trained further by" in page
    assert "train.py:lift (seed 0)" in page
    # The bound is on what the layers' errors do in the original's network, which this is not.
    assert not manifest["bound"]["available"]
    assert "trained" in manifest["bound"]["reason"]


@pytest.mark.slow
def test_rounded_weights_are_those_that_the_function_left(source: Path, lifted: Path, tmp_path: Path) -> None:
    result = build(source, tmp_path / "rounded", "lift", "--precision", "int8")
    assert result.exit_code == 0, result.output
    plain = answers(lifted)
    assert np.linalg.norm(answers(tmp_path / "rounded") - plain) < 0.05 * np.linalg.norm(plain)


@pytest.mark.slow
def test_a_function_prints_beside_the_answer_imports_its_neighbours_and_has_all_threads(tmp_path: Path) -> None:
    source = with_functions(tmp_path / "model", SMALL + 'retrain = "train.py:prints"\n')
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = call("build", source, "--out", tmp_path / "out", "--json")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert json.loads(result.stdout)
    assert "epoch 1 2" in result.stderr
    assert "the file is imported" in result.stderr


def trained(source: Path, function: str, store: Store, seed: int = 0) -> Any:
    """The bias of the decoder after the stage alone."""
    task = load(open_source(str(source)))
    options = Options(order=4, calibrate="none", retrain=f"{source / 'train.py'}:{function}", seed=seed)
    task, options, _ = resolve(task, options)
    trainer = trainer_of(options)
    assert trainer is not None
    _, found = retrain(task, compress(task, options, store, silent), options, trainer, store, silent)
    return found.model.state_dict()["decoder.bias"].numpy()


def test_what_a_function_sets_for_itself_ends_with_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained(source, "unsettles", Store(None))
    assert Path.cwd() == tmp_path
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_function_beside_the_models_class_knows_the_class(tmp_path: Path) -> None:
    source = with_functions(tmp_path / "model")
    code = "\n\ndef retrain(model):\n    assert isinstance(model, DigitClassifier)\n    model.decoder.bias.data.fill_(3.0)\n"
    (source / "train.py").write_text((source / "model.py").read_text() + code)
    (source / "build.toml").write_text(SMALL.replace("model.py", "train.py"))
    assert (trained(source, "retrain", Store(None)) == 3.0).all()


@pytest.mark.slow
def test_a_budget_of_bytes_counts_what_training_sets_apart(source: Path) -> None:
    task, options, _ = resolve(load(open_source(str(source))), Options(order=4, calibrate="none"))
    start = compress(task, options, Store(None), silent).model
    moved = copy.deepcopy(start)
    for weight in moved.parameters():
        weight.data += 0.01 * torch.randn_like(weight)
    plain, trained_later = (
        excess_of(task, Options(max_bytes=1, calibrate="none", retrain=named)) for named in (None, "train.py:lift")
    )
    assert plain is not None
    assert trained_later is not None
    assert plain(start) < plain(moved) <= trained_later(start)


@pytest.mark.slow
def test_wrappers_and_the_precision_of_training_are_taken_off(source: Path) -> None:
    # bfloat16 has eight bits.
    lifted, averaged = (trained(source, name, Store(None)) for name in ("lift", "averages"))
    np.testing.assert_allclose(averaged, lifted, rtol=2**-8)


def test_equal_seeds_train_alike_and_others_do_not(source: Path) -> None:
    first, again, other = (trained(source, "drawn", Store(None), seed) for seed in (0, 0, 3))
    assert np.array_equal(first, again)
    assert (other - first).min() > 1.0


def test_a_finished_training_is_repeated_only_for_other_code(tmp_path: Path) -> None:
    source, store, runs = with_functions(tmp_path / "model"), Store(tmp_path / "kept"), []
    for file, code in (("train.py", TRAIN), ("train.py", TRAIN), ("train.py", TRAIN + "\n# changed\n"), ("beside.py", "# new")):
        (source / file).write_text(code)
        trained(source, "lift", store)
        runs.append(len((source / "runs").read_text().split()))
    assert runs == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("fails", "failed to train the model (ValueError: no data)"),
        ("returns_a_number", "returned a float; it must return the model"),
        ("overflows", "left NaN or infinite values in decoder.bias"),
        ("other", "is gone or has another shape"),
        ("adds", "has more.weight beside its own weights"),
        ("missing", "there is no function 'missing' in it"),
    ],
)
def test_functions_that_leave_no_model_are_refused(source: Path, function: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        trained(source, function, Store(None))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("nowhere.py:train", "nowhere.py does not exist"),
        ("train.py", "names no function"),
        ("no_package.at_all:train", "cannot be imported"),
    ],
)
def test_names_that_lead_nowhere_are_refused(named: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        import_code(named, Path(), "training function")


def test_a_missing_function_is_named_before_anything_is_loaded(source: Path, tmp_path: Path) -> None:
    result = build(source, tmp_path / "out", "missing")
    assert result.exit_code != 0
    assert "there is no function 'missing' in it" in " ".join(result.stderr.split())
    assert set(stages(result)) <= {"load"}


def test_a_failed_training_leaves_no_artifact(source: Path, tmp_path: Path) -> None:
    result = build(source, tmp_path / "out", "fails")
    assert result.exit_code != 0
    assert "train.py:fails failed to train the model (ValueError: no data)" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_bound_says_nothing_of_a_module_whose_other_weights_were_trained(tmp_path: Path) -> None:
    model, data = tiny_model(), samples()
    small = ssm2edge.compress(model, data["calibration.pixels"], order=4, calibrate="none")
    with torch.no_grad():
        small.get_submodule("decoder").weight *= 1.5
    built = ssm2edge.build(small, held_out=data["held_out.pixels"], out=tmp_path / "out", original=model)
    assert built.manifest.bound is not None
    assert not built.manifest.bound["available"]


def test_code_of_a_package_leaves_the_path_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in an interactive session, whose first place is the working directory.
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    before = list(sys.path)
    module, _ = import_code("tests.model_directories:samples", Path(), "training function")
    with beside(module):
        assert sys.path == before
    assert sys.path == before


def test_a_function_is_given_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ssm2edge.Error, match=re.escape("it must be a text that names a file and a function.")):
        ssm2edge.build(tiny_model(), samples()["calibration.pixels"], tmp_path / "out", retrain=with_functions)  # type: ignore[arg-type]  # no text


def test_compress_leaves_training_to_the_caller() -> None:
    with pytest.raises(ssm2edge.Error, match="leave retrain out"):
        ssm2edge.compress(tiny_model(), samples()["calibration.pixels"], order=4, calibrate="none", retrain="train.py:lift")


def test_no_bound_limits_what_is_trained(source: Path, tmp_path: Path) -> None:
    result = build(source, tmp_path / "out", "lift", "--max-error", 0.1, "--max-error-of", "bound")
    assert result.exit_code != 0
    assert "does not cover trained weights" in " ".join(result.stderr.split())


def test_cells_of_a_sweep_follow_the_code_of_the_function_and_not_its_place(source: Path, tmp_path: Path) -> None:
    def key(place: Path, code: str) -> str:
        place.mkdir(exist_ok=True)
        (place / "train.py").write_text(code)
        return Cells([str(source)], {}, tmp_path).cell(0, {"order": 4, "retrain": f"{place / 'train.py'}:lift"}).key

    assert key(tmp_path / "one", TRAIN) == key(tmp_path / "two", TRAIN)
    (tmp_path / "two" / "package").mkdir()
    (tmp_path / "two" / "package" / "data.py").write_text("")
    assert key(tmp_path / "one", TRAIN) != key(tmp_path / "two", TRAIN)
    assert key(tmp_path / "one", TRAIN) != key(tmp_path / "one", TRAIN + "\n# changed\n")


def test_a_sweep_with_a_function_that_is_not_there_builds_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ssm2edge.Error, match=r"nowhere\.py does not exist"):
        ssm2edge.sweep(source, tmp_path / "sweep", order=4, retrain=["nowhere.py:train"])
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("several", [False, True])
def test_a_plan_names_functions_beside_it(source: Path, several: bool) -> None:
    plan = source / "plan.toml"
    section = "[[grid]]" if several else "[grid]"
    plan.write_text(f'[sweep]\nsources = ["."]\n{section}\nretrain = ["train.py:lift", "package.code:train"]\n')
    read = read_plan(plan)
    grid = read["grids"][0] if several else read
    assert grid["retrain"] == [f"{source / 'train.py'}:lift", "package.code:train"]
