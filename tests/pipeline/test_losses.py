"""A build is calibrated unless it is asked not to be, and says last and loudest what was lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge import api
from ssm2edge.artifact import Accuracy, GraphCost, WeightRecord, load_figures, open_artifact
from ssm2edge.artifact.figures import NAME
from ssm2edge.artifact.loss import Loss, losses
from ssm2edge.errors import UserError
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.report import render
from ssm2edge.stages.calibrate import MOST_MOVED, with_evoked
from ssm2edge.stages.examine import refusal
from ssm2edge.stages.load import load
from ssm2edge.stages.progress import silent
from ssm2edge.stages.resolve import resolve
from ssm2edge.tables.artifact import closing, show_artifact
from ssm2edge.tables.results import text_of
from ssm2edge.verification import Check, Verdict
from tests.command_line import call
from tests.conftest import Built
from tests.model_directories import BUILD, model_directory, tiny_model


@pytest.mark.parametrize("size", [{}, {"order": 3}, {"keep": 0.5}, {"max_error": 0.1}, {"max_drop": 1.0}])
def test_however_the_size_is_asked_for_samples_calibrate(tmp_path: Path, size: dict[str, float]) -> None:
    source = open_source(str(model_directory(tmp_path / "model", BUILD.partition("[build]")[0])))
    task = load(source)
    assert resolve(task, Options(**size))[1].calibrate == "match"
    assert resolve(task, Options(**size, calibrate="none"))[1].calibrate == "none"
    without = dataclasses.replace(task, samples=dataclasses.replace(task.samples, calibration={}))
    assert resolve(without, Options(**size, calibrate="none"))[0].samples.calibration == {}
    few = {name: value[:4] for name, value in task.samples.calibration.items()}
    beside = dataclasses.replace(task, samples=dataclasses.replace(task.samples, calibration=few))
    for given, real in ((without, 0), (beside, 4)):
        found, options, _ = resolve(given, Options(**size))
        assert options.calibrate == "match"
        (calibration,) = found.samples.calibration.values()
        assert len(calibration) - found.samples.synthetic == real
        np.testing.assert_array_equal(calibration[:real], next(iter(few.values()))[:real])


@pytest.mark.parametrize(
    ("asked", "few"),
    [
        (Options(keep=0.09), True),
        (Options(keep=0.11), False),
        (Options(order=1), False),
        (Options(max_error=0.1), False),
        (Options(keep=0.09, calibrate="none"), False),
    ],
)
def test_synthetic_signals_are_moved_where_few_states_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Options, few: bool
) -> None:
    def shifted(model: object, systems: object, inputs: dict[str, NDArray[Any]], *others: object) -> dict[str, NDArray[Any]]:
        return {name: value + 100 for name, value in inputs.items()}

    monkeypatch.setattr("ssm2edge.stages.calibrate.evoked", shifted)
    task = load(open_source(str(model_directory(tmp_path / "model", BUILD.partition("[build]")[0]))))
    real = {name: value[:4] for name, value in task.samples.calibration.items()}
    given = dataclasses.replace(task, samples=dataclasses.replace(task.samples, calibration=real))
    both, options, _ = resolve(given, asked)
    found = with_evoked(both, options, silent).samples
    assert (found is not both.samples) == few
    ((name, value),) = found.calibration.items()
    np.testing.assert_array_equal(value[:4], real[name])
    assert found.synthetic == len(value) - 4 <= both.samples.synthetic
    if few:
        assert found.synthetic <= MOST_MOVED
        assert value[4:].min() > 50


def test_a_metric_without_labels_is_not_passed_over(tmp_path: Path) -> None:
    source = open_source(str(model_directory(tmp_path / "model", BUILD.partition("[build]")[0])))
    task = load(source)
    judged = dataclasses.replace(task, source=dataclasses.replace(source, metrics={"": "accuracy"}))
    assert judged.samples.labels
    assert resolve(judged, Options(order=3))[2] is None
    without = dataclasses.replace(judged, samples=dataclasses.replace(task.samples, labels={}))
    sentence = resolve(without, Options(order=3))[2]
    assert sentence is not None
    assert "no labels for the outputs: the metric is not measured" in sentence
    named = dataclasses.replace(judged, source=dataclasses.replace(source, metrics={"other": "accuracy"}))
    assert "no labels for other" in (resolve(named, Options(order=3))[2] or "")


def test_calibration_samples_at_fault_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    source = open_source(str(model_directory(tmp_path / "model", BUILD.partition("[build]")[0])))
    task = load(source)
    shorter = {name: value[:, :-3] for name, value in task.samples.calibration.items()}
    faulty = dataclasses.replace(task, samples=dataclasses.replace(task.samples, calibration=shorter))
    with pytest.raises(UserError, match="of the length that the model is used on"):
        resolve(faulty, Options(order=3))


@pytest.mark.parametrize(
    ("metric", "before", "after", "amount", "large"),
    [
        ("accuracy", 0.978, 0.434, 54.4, True),
        ("accuracy", 0.978, 0.9581, 1.99, False),
        ("accuracy", 0.5, 0.6, -10.0, False),
        ("nrmse", 0.02, 0.0222, 11.0, True),
        ("nrmse", 0.02, 0.0218, 9.0, False),
        ("nrmse", 0.0, 0.1, 0.0, False),
    ],
)
def test_losses_are_points_of_accuracy_and_per_cent_of_error(
    metric: str, before: float, after: float, amount: float, large: bool
) -> None:
    loss = Loss("", metric, before, after)
    assert loss.amount == pytest.approx(amount)
    assert loss.large is large


def test_the_closing_lines_say_everything_that_a_user_decides_by(tiny_build: Built) -> None:
    artifact = open_artifact(tiny_build.out)
    manifest = artifact.manifest
    latency = manifest.latency
    assert latency is not None
    verdict = Verdict((Check("accuracy", 1.0, None, True, "a loss of 1.00 points, 95 % interval 0.5 to 1.5"),), manifest.accuracy)
    assert manifest.original.bytes == (tiny_build.source / "weights.safetensors").stat().st_size
    text = "\n".join(str(line) for line in closing(tiny_build.out, manifest, verdict, 1.0))
    graph = manifest.files["offline.onnx"].bytes / 1024
    for word in (
        "95 % interval 0.5 to 1.5",
        f"weights file {manifest.original.bytes / 1024:,.0f} KB",
        f"offline.onnx {graph:,.0f} KB",
        f"{latency.ratios['offline'].ratio:.3g}",
        "as published",
        f"{latency.cached_ratios['offline'].ratio:.3g}",
        "cached kernels",
        "alibrated",
        str(tiny_build.out),
    ):
        assert word in text
    assert latency.cached is not None


@pytest.mark.parametrize(
    ("kept", "precision", "on", "said"),
    [
        (False, "float32", {"samples": 40}, "Calibrated: match on 40 calibration samples"),
        (
            False,
            "float32",
            {"samples": 4, "synthetic": 9},
            "Calibrated: match on 4 calibration samples and 9 synthetic sequences",
        ),
        (False, "float32", {}, "Not calibrated: reduced for white input"),
        # At their own order layers stay as they are, whatever samples there are; rounded weights do not.
        (True, "float32", {"samples": 40}, "Not calibrated: no layer has fewer states than before"),
        (True, "int8", {"samples": 40}, "Calibrated: match on 40 calibration samples"),
    ],
)
def test_the_closing_lines_say_what_was_calibrated_and_on_what(
    tiny_build: Built, kept: bool, precision: str, on: dict[str, int], said: str
) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    layers = tuple(dataclasses.replace(layer, order_after=layer.order_before - (not kept)) for layer in manifest.layers)
    options = {name: value for name, value in manifest.options.items() if name != "calibrate"}
    options |= {"precision": precision} | ({"calibrate": "match"} if on else {})
    found = dataclasses.replace(manifest, layers=layers, options=options, calibrated_on=on)
    assert said in [line.plain for line in closing(tiny_build.out, found, Verdict((), None), 1.0)]


@pytest.mark.parametrize(("error", "on", "said"), [(3.4, {"samples": 40}, True), (0.4, {"samples": 40}, False), (3.4, {}, False)])
def test_large_h2_errors_of_calibrated_layers_have_a_word_on_them(
    tiny_build: Built, error: float, on: dict[str, int], said: bool
) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    layers = (dataclasses.replace(manifest.layers[0], h2_error_relative=error), *manifest.layers[1:])
    found = dataclasses.replace(manifest, layers=layers, calibrated_on=on)
    shown = text_of(lambda console: show_artifact(console, tiny_build.out, found))
    assert ("h2 errors are those for white input" in shown) == said


@pytest.mark.parametrize(
    ("options", "on", "advised"),
    [
        ({}, {}, True),
        ({"calibrate": "spectrum"}, {"samples": 40}, True),
        ({"calibrate": "match"}, {"synthetic": 40}, True),
        ({"calibrate": "match"}, {"samples": 40}, False),
    ],
)
def test_no_large_loss_advises_what_was_done(
    tiny_build: Built, options: dict[str, str], on: dict[str, int], advised: bool
) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    lossy = dataclasses.replace(manifest, options=options, calibrated_on=on, accuracy=Accuracy(0.978, 0.4, 100))
    (loss,) = losses(lossy)
    assert loss.large
    assert ("--calibrate match" in loss.sentence) == advised
    assert "--keep" in loss.sentence


@pytest.mark.parametrize(
    ("error", "deviation", "accuracy", "red"),
    [
        (1.21, 0.39, None, True),
        (105.2, 0.39, None, True),
        (0.6, 0.2, None, True),
        (0.4, 0.2, None, False),
        # Calibrated layers may be anything where their inputs do not reach.
        (85.0, 0.01, None, False),
        (1.73, 0.2, Accuracy(0.978, 0.9775, 2000), False),
    ],
)
def test_a_layer_that_answers_unlike_its_original_is_said_last_and_in_red(
    tiny_build: Built, error: float, deviation: float, accuracy: Accuracy | None, red: bool
) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    layers = (dataclasses.replace(manifest.layers[0], h2_error_relative=error), *manifest.layers[1:])
    manifest = dataclasses.replace(manifest, layers=layers, accuracy=accuracy)
    verdict = Verdict((Check("offline.error", deviation, None, True, ""),), accuracy)
    lines = closing(tiny_build.out, manifest, verdict, 1.0)
    assert len(lines) <= 6
    assert str(lines[-1].style) == ("bold red" if red else "bold green")
    assert [str(line.style) for line in lines].count("bold green") == (not red)
    off = f"{error:.2g} of its h2 norm off" if error < 1 else f"off by {error:.3g} times its h2 norm"
    assert (f"{layers[0].name} is {off}" in lines[-1].plain) == red
    assert ("a layer of zeros" in lines[-1].plain) == (red and error >= 1)


def test_a_precision_that_rounds_nothing_is_said(tiny_build: Built) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    small = WeightRecord("mix.weight", 32, 16, "fewer than 64 numbers, or than 4 in a row")
    large = WeightRecord("head.weight", 8, 64, "--precision int8")
    options = {**manifest.options, "precision": "int8"}
    said = {}
    for weights in ((small,), (small, large), ()):
        found = dataclasses.replace(manifest, options=options, weights=weights)
        said[weights] = "\n".join(line.plain for line in closing(tiny_build.out, found, Verdict((), None), 1.0))
    assert "--precision int8 rounded no weight to integers: fewer than 64 numbers, or than 4 in a row." in said[small,]
    assert "rounded no weight to integers: there is no matrix outside of the layers." in said[()]
    assert "rounded no weight" not in said[small, large]
    plain = closing(tiny_build.out, manifest, Verdict((), None), 1.0)
    assert not any("rounded no weight" in line.plain for line in plain)


def test_the_difference_from_the_original_is_a_sentence_with_both_figures(tiny_build: Built) -> None:
    parity = open_artifact(tiny_build.out).manifest.parity
    assert parity is not None
    (check,) = [check for check in parity["checks"] if check["name"] == "offline.error"]
    assert check["detail"].startswith(
        f"outputs against the original model's: largest difference {check['figure']:.3g}, root mean square "
    )


def test_only_decisions_of_the_build_are_followed_by_the_options_that_change_them(
    tiny_build: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sentence = "Layer a goes on otherwise than its system after 64 samples; give longer samples for more."
    built = SimpleNamespace(
        decided=sentence, manifest=open_artifact(tiny_build.out).manifest, directory=tiny_build.out, seconds=1.0
    )
    monkeypatch.setattr(api, "build", lambda source, **given: built)
    done = call("build", tiny_build.source, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0
    assert [line for line in done.stderr.splitlines() if line.strip()] == [sentence]
    decided = resolve(load(open_source(str(tiny_build.source))), Options(calibrate="none"))[2]
    assert decided is not None
    assert decided.startswith("No size was given")
    assert decided.endswith("--order, --keep, --max-error, --max-drop and --calibrate say otherwise.")


def test_the_size_line_names_numbers_of_every_size(tiny_build: Built) -> None:
    manifest = open_artifact(tiny_build.out).manifest
    weights = (WeightRecord("mix.weight", 32, 16, "small"),)
    for kinds, bracket in (
        ({"float32": 500, "float16": 400}, "(weights 900 bytes: float32 500 bytes, float16 400 bytes)"),
        ({"float32": 500, "int8": 600}, "(weights 1 KB: int8 600 bytes)"),
        ({"float32": 20, "int8": 4096}, "(weights 4 KB: int8 4 KB)"),
    ):
        costs = {"offline": GraphCost(1, 1, kinds)}
        found = dataclasses.replace(manifest, weights=weights, costs=costs)
        assert bracket in closing(tiny_build.out, found, Verdict((), None), 1.0)[1].plain


def test_a_large_loss_is_said_last_and_in_red(tiny_build: Built) -> None:
    place = tiny_build.out
    artifact = open_artifact(place)
    manifest, figures = artifact.manifest, load_figures(artifact.path(NAME))
    verdict = Verdict((), manifest.accuracy)
    for after, style in ((0.97, "bold green"), (0.4, "bold red")):
        lossy = dataclasses.replace(manifest, accuracy=Accuracy(0.978, after, 100))
        lines = closing(place, lossy, verdict, 1.0)
        assert len(lines) <= 6
        assert str(lines[-1].style) == style
        assert [str(line.style) for line in lines].count("bold green") == (style == "bold green")
        page = render(lossy, figures, manifest.files, [])
        assert ('class="alarm"' in page) == ('badge bad"' in page) == (style == "bold red")
        assert ('badge good"' in page) == (style == "bold green")
        assert losses(lossy)[0].large == (style == "bold red")


LOST = Check("accuracy", 10.25, 1.0, False, "a loss of 10.25 points")
WRONG = Check("offline.parity", 0.5, 1e-4, False, "the graph is wrong")


@pytest.mark.parametrize(
    ("failed", "options", "matched", "said"),
    [
        ((LOST,), Options(max_loss=1), False, "loses more than --max-loss 1 allows"),
        ((LOST,), Options(max_loss=1), True, "loses more than --max-loss 1 allows"),
        ((LOST,), Options(max_drop=0.5, max_loss=1), True, "loses more than --max-drop 0.5 allows"),
        ((LOST, WRONG), Options(max_loss=1), True, "failed its verification"),
        ((WRONG,), Options(), True, "failed its verification"),
    ],
)
def test_what_loses_too_much_is_not_called_wrong(failed: tuple[Check, ...], options: Options, matched: bool, said: str) -> None:
    sentence = refusal(Verdict(failed, None), options, matched)
    assert sentence.startswith(f"The artifact {said}")
    assert "was not published" in sentence
    assert all(check.detail in sentence for check in failed)
    advised = options.max_loss is not None and options.max_drop is None and not matched
    assert ("--calibrate match" in sentence) == advised


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
def test_nothing_is_published_that_loses_more_than_is_allowed(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    arrays = dict(np.load(source / "samples.npz"))
    # Labels by which the original is always right, so that whatever is answered otherwise is lost.
    with torch.no_grad():
        arrays["labels"] = tiny_model()(torch.from_numpy(arrays["held_out.pixels"])).argmax(1).numpy()
    np.savez(source / "samples.npz", **arrays)
    given = ["build", str(source), "--order", "1", "--method", "modal", "--json"]
    allowed = call(*given, "--out", str(tmp_path / "allowed"), "--max-loss", "100")
    assert allowed.exit_code == 0
    (loss,) = json.loads(allowed.stdout)["losses"]
    assert loss["loss"] > 0, "the case must lose something"
    refused = call(*given, "--out", str(tmp_path / "refused"), "--max-loss", str(loss["loss"] / 2))
    assert refused.exit_code == 1
    assert "--max-loss" in refused.stderr
    assert not (tmp_path / "refused").exists()
