"""Bad input to `build` and `inspect`: exit code 2, one sentence that names the thing, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file

from tests.command_line import call
from tests.model_directories import BUILD, CLASSES, HELD_OUT, LENGTH, model_directory, samples, tiny_model
from tests.slow_cases import slow, slow_but

Prepare = Callable[[Path], object]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return model_directory(tmp_path / "model")


def everything(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in place.rglob("*") if "__pycache__" not in path.parts}


def one_sentence(result: Result, as_json: bool = False) -> str:
    assert result.exit_code == 2, result.output
    sentence = result.stderr.removeprefix("ssm2edge: ").removesuffix("\n")
    told = json.loads(result.stdout) if as_json else result.stdout
    assert told == ({"error": sentence, "exit_code": 2} if as_json else "")
    assert result.stderr.startswith("ssm2edge: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(".\n")
    assert "Traceback" not in result.stderr
    return result.stderr


def refused(directory: Path, *options: object) -> str:
    """Call `build`, in text and in JSON, and return what it said; the whole place is as before."""
    place = directory.parent
    before = everything(place)
    arguments = ("build", directory, "--out", place / "a" / "out", *options)
    said = [one_sentence(call(*arguments)), one_sentence(call(*arguments, "--json"), as_json=True)]
    assert everything(place) == before
    assert said[0] == said[1]
    return said[0]


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Prepare:
    def prepare(directory: Path) -> None:
        weights = load_file(directory / "weights.safetensors")
        change(weights)
        save_file(weights, directory / "weights.safetensors")

    return prepare


def change_samples(**values: Any) -> Prepare:
    """Replace keys of the samples (dots written as two underscores); None removes one."""

    def prepare(directory: Path) -> None:
        changed = samples() | {key.replace("__", "."): value for key, value in values.items()}
        np.savez(directory / "samples.npz", **{key: value for key, value in changed.items() if value is not None})

    return prepare


def change_build(old: str, new: str) -> Prepare:
    assert old in BUILD
    return lambda directory: (directory / "build.toml").write_text(BUILD.replace(old, new))


def write(name: str, text: str) -> Prepare:
    return lambda directory: (directory / name).write_text(text)


def append_code(text: str) -> Prepare:
    def prepare(directory: Path) -> None:
        with (directory / "model.py").open("a") as stream:
            stream.write("\n\n" + text)

    return prepare


def with_nan(shape: tuple[int, ...]) -> np.ndarray:
    value = np.zeros(shape, np.float32)
    value[3, 2] = np.nan
    return value


SHAPE = (HELD_OUT, LENGTH, 1)
POLE = "layers.1.kernel.log_A_real"

NAMED_ANSWERS = """
made = make

def make(**sizes):
    model = made(**sizes)
    plain = model.forward

    def forward(pixels):
        return {"scores": str(plain(pixels))}

    model.forward = forward
    return model
"""
BY_ANOTHER_KEYWORD = NAMED_ANSWERS.replace("forward(pixels):", "forward(pixels, *, mask):")

SCORES_AT_EVERY_STEP = NAMED_ANSWERS.replace('{"scores": str(plain(pixels))}', "pixels * plain(pixels)[:, None]")
CHANNELS_FIRST = """
made = make

def make(**sizes):
    model = made(**sizes)
    plain = model.forward

    def forward(pixels):
        return plain(nn.functional.conv1d(pixels, torch.ones(1, 24, 1)).mT)

    model.forward = forward
    return model
"""


AROUND = """
made = make

def make(**sizes):
    model = made(**sizes)
    plain = model.forward

    def forward(pixels):
        return {answer}

    model.forward = forward
    return model
"""


def both(*prepared: Prepare) -> Prepare:
    return lambda directory: [prepare(directory) for prepare in prepared]


IN_PARTS = "made = make\n\ndef make(**sizes):\n    model = made(**sizes)\n    model.{part}.{precision}()\n    return model\n"

CASES: dict[str, tuple[Prepare, str]] = {
    "weights: one missing": (change_weights(lambda w: w.pop("decoder.bias")), "lacks decoder.bias"),
    "weights: one too many": (change_weights(lambda w: w.update(extra=torch.ones(2))), "the model has no extra"),
    "weights: other shape": (
        change_weights(lambda w: w.update({"decoder.bias": torch.ones(11)})),
        "decoder.bias has shape (11,)",
    ),
    "weights: NaN": (change_weights(lambda w: w["norm.weight"].fill_(torch.nan)), "norm.weight holds NaN"),
    "weights: infinite": (
        change_weights(lambda w: w["layers.0.D"].fill_(torch.inf)),
        "layers.0.D holds NaN or infinite",
    ),
    "weights: pole on the circle, no horizon": (
        both(
            change_weights(lambda w: [w[POLE].fill_(-200.0), w["layers.1.kernel.A_imag"].zero_()]),
            change_build("order = 6", 'order = 6\nhorizon = "inf"'),
        ),
        "Layer layers.1 (S4D) is not stable",
    ),
    "weights: cut short": (
        lambda d: (d / "weights.safetensors").write_bytes(b"\x08"),
        "not a readable safetensors file",
    ),
    "weights: absent": (lambda d: (d / "weights.safetensors").unlink(), "weights.safetensors does not exist"),
    "samples: absent": (lambda d: (d / "samples.npz").unlink(), "samples.npz does not exist"),
    "samples: text": (write("samples.npz", "text"), "not a readable npz file"),
    "samples: one array": (lambda d: np.save((d / "samples.npz").open("wb"), np.ones(3)), "no time axis 1"),
    "samples: pickled": (change_samples(held_out__pixels=np.array([{}], dtype=object)), "not a readable npz file"),
    "samples: no held-out part": (change_samples(held_out__pixels=None, labels=None), "lacks held_out.pixels"),
    "samples: unknown key": (change_samples(pixles=np.zeros(3, np.float32)), "'pixles'"),
    "samples: no time axis": (change_samples(held_out__pixels=np.zeros(HELD_OUT, np.float32)), "no time axis 1"),
    "samples: too wide": (
        change_samples(held_out__pixels=np.zeros((HELD_OUT, LENGTH, 2), np.float32), calibration__pixels=None),
        "cannot take the samples",
    ),
    "samples: too flat": (
        change_samples(held_out__pixels=np.zeros((HELD_OUT, LENGTH), np.float32), calibration__pixels=None),
        "cannot take the samples",
    ),
    "samples: text inside": (change_samples(held_out__pixels=np.full(SHAPE, "a")), "elements of type"),
    "samples: complex": (change_samples(held_out__pixels=np.zeros(SHAPE, complex)), "elements of type complex128"),
    "samples: whole numbers": (
        change_samples(held_out__pixels=np.zeros(SHAPE, np.int64), calibration__pixels=None),
        "cannot take the samples",
    ),
    "samples: too large": (change_samples(held_out__pixels=np.full(SHAPE, 1e300)), "too large for float32 (first in sample 0)"),
    "samples: NaN": (
        change_samples(held_out__pixels=with_nan(SHAPE)),
        "holds NaN or infinite values, or some too large for float32 (first in sample 3)",
    ),
    "samples: none": (change_samples(held_out__pixels=np.zeros((0, LENGTH, 1), np.float32), labels=None), "at least one sample"),
    "samples: no time": (change_samples(held_out__pixels=np.zeros((4, 0, 1), np.float32), labels=None), "at least one sample"),
    "samples: wider to calibrate": (
        change_samples(calibration__pixels=np.zeros((5, LENGTH, 2), np.float32)),
        f"calibration part of pixels holds float32 of shape ({LENGTH}, 2) a sample, the held-out part float32 of shape",
    ),
    "samples: whole numbers to calibrate": (
        change_samples(calibration__pixels=np.zeros((5, LENGTH, 1), np.int64)),
        "calibration part of pixels holds int64",
    ),
    "samples: labels too few": (change_samples(labels=np.zeros(3, np.int64)), "labels has shape (3,)"),
    "samples: labels no numbers": (change_samples(labels=np.full(HELD_OUT, "cat")), "labels"),
    "samples: labels of another shape": (change_samples(labels=np.zeros((HELD_OUT, 7), np.int64)), "labels"),
    "samples: true outputs, not called so": (
        both(change_build('[task]\nmetric = "accuracy"\n', ""), change_samples(labels=np.zeros((HELD_OUT, CLASSES), np.float32))),
        "say so with --metric nrmse",
    ),
    "samples: true outputs of another shape": (
        both(change_build('"accuracy"', '"nrmse"'), change_samples(labels=np.zeros((HELD_OUT, LENGTH), np.float32))),
        f"labels are true outputs of shape ({LENGTH},) a sample, the model's output is (10,)",
    ),
    "samples: classes of a model that gives sequences": (append_code(SCORES_AT_EVERY_STEP), "does not score them"),
    "model: one answer for all": (append_code(AROUND.format(answer="plain(pixels).mean()")), "with a tensor of shape ()"),
    "model: no answer for each sequence": (
        append_code(AROUND.format(answer="plain(pixels)[:1]")),
        "one answer for each sequence",
    ),
    "model: batch and time in one axis": (
        append_code(AROUND.format(answer="(pixels + 0 * plain(pixels)[:, None, :1]).reshape(-1, 24)")),
        "has no axis for the batch alone in front",
    ),
    "model: raises what it likes": (append_code(AROUND.format(answer="dict(pixels=1)['gone']")), "cannot take the samples"),
    "samples: time on another axis": (
        append_code(CHANNELS_FIRST),
        "with time on axis 1 of pixels, or say another axis with --time-axis",
    ),
    "samples: classes from 1": (change_samples(labels=np.arange(HELD_OUT) % 10 + 1), "labels reach from 1 to 10"),
    "samples: classes below 0": (change_samples(labels=np.arange(HELD_OUT) % CLASSES - 1), "labels reach from -1 to 1"),
    "factory: double precision": (
        append_code("made = make\n\ndef make(**sizes):\n    return made(**sizes).double()\n"),
        "its weights are float64, samples and graphs are float32: let the factory return model.float()",
    ),
    **{
        f"factory: {part} in {precision}": (
            append_code(IN_PARTS.format(part=part, precision=precision)),
            f"are {name}, samples and graphs are float32: let the factory return model.float()",
        )
        for part in ("encoder", "layers[0]", "decoder")
        for precision, name in (("half", "float16"), ("bfloat16", "bfloat16"), ("double", "float64"))
    },
    "factory: named answers": (
        append_code(NAMED_ANSWERS),
        "must return a tensor, or tensors in a tuple, a dictionary or a dataclass",
    ),
    "factory: an input without samples": (append_code(BY_ANOTHER_KEYWORD), "lacks held_out.mask"),
    "factory: absent file": (change_build("model.py:make", "absent.py:make"), "absent.py does not exist"),
    "factory: absent module": (
        change_build("model.py:make", "absent_module_of_nobody:make"),
        "absent_module_of_nobody cannot be",
    ),
    "factory: absent function": (change_build("model.py:make", "model.py:makes"), "no function 'makes'"),
    "factory: no function": (change_build("model.py:make", "model.py"), "model.py"),
    "factory: unknown argument": (change_build("channels", "chanels"), "chanels"),
    "factory: raises": (append_code("def make(**_):\n    raise RuntimeError('no luck\\nat all')\n"), "RuntimeError: no luck)"),
    "factory: no module": (append_code("def make(**_):\n    return 3\n"), "returned a int"),
    "factory: code that fails": (append_code("1 / 0\n"), "ZeroDivisionError"),
    "factory: code that leaves": (append_code("raise SystemExit(5)\n"), "SystemExit"),
    "factory: no Python": (write("model.py", "def make(:\n"), "cannot be imported (SyntaxError"),
    "toml: unknown section": (change_build("[task]", "[tasks]"), "unknown section [tasks]"),
    "toml: unknown key": (change_build("order = 6", "ordre = 6"), "unknown key build.ordre"),
    "toml: no factory": (change_build('factory = "model.py:make"', ""), "must give model.factory as str"),
    "toml: no samples": (change_build('[samples]\nfile = "samples.npz"\ntime_axis = 1', ""), "must give samples.file as str"),
    "toml: number for text": (change_build('"weights.safetensors"', "3"), "must give model.weights as str"),
    "toml: text for number": (change_build("time_axis = 1", 'time_axis = "1"'), "must give samples.time_axis as int"),
    "toml: time before batch": (change_build("time_axis = 1", "time_axis = 0"), "time_axis"),
    "toml: time from the end": (change_build("time_axis = 1", "time_axis = -2"), "time_axis"),
    "toml: text for order": (change_build("order = 6", 'order = "6"'), "build.order is '6'; it must be a whole number."),
    "toml: fraction for order": (change_build("order = 6", "order = 2.5"), "build.order is 2.5; it must be a whole number."),
    "toml: unknown metric": (change_build('metric = "accuracy"', 'metric = "beauty"'), "beauty"),
    "toml: no toml": (write("build.toml", "[model\n"), "build.toml cannot be read"),
    "toml: absent": (lambda d: (d / "build.toml").unlink(), "has no build.toml"),
    "toml: unknown method": (change_build("order = 6", 'order = 6\nmethod = "magic"'), "no reduction method 'magic'"),
    "toml: endless taps": (change_build("order = 6", "order = 6\nhorizon = 99999999999999"), "ask for inf"),
    "toml: taps in words": (change_build("order = 6", 'order = 6\nhorizon = "long"'), "build.horizon is 'long'"),
    "toml: number for a form": (change_build("order = 6", "order = 6\nplan = { '*' = 64 }"), "build.plan gives 64 for *"),
    "toml: no such form": (change_build("order = 6", "order = 6\nplan = { '*' = 'fast' }"), "'fast' is no kernel form"),
    "toml: no taps": (change_build("order = 6", "order = 6\nhorizon = 0"), "horizon of 0"),
}


@pytest.mark.parametrize("name", slow_but(list(CASES)[::6], CASES))
def test_bad_model_directories_are_refused(directory: Path, name: str) -> None:
    prepare, said = CASES[name]
    prepare(directory)
    assert said in refused(directory)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--order", 0), "0"),
        (("--order", -1), "-1"),
        (("--order", 7), "7"),
        (("--method", "magic"), "no reduction method 'magic'"),
        (("--block", 0), "block of 0 samples"),
        (("--block", -4), "block of -4 samples"),
        slow(("--block", LENGTH + 1), f"sequences of {LENGTH} samples do not fill one block of {LENGTH + 1}"),
        slow(("--block", 10**8), f"sequences of {LENGTH} samples do not fill one block"),
        (("--plan", "layer.0=sequence:8"), "The plan names layer.0, but the layers are layers.0, layers.1"),
        slow(("--plan", "*=sequence:99999"), "no number of samples from 1 to 4096"),
        (("--lti", ""), "(the model) takes torch.float32"),
        (("--weights", "absent.safetensors"), "absent.safetensors does not exist"),
        (("--samples", "absent.npz"), "absent.npz does not exist"),
        (("--time-axis", 5), "no time axis 5"),
        (("--time-axis", 2), "time"),
    ],
)
def test_bad_options_are_refused(directory: Path, options: tuple[object, ...], said: str) -> None:
    assert said in refused(directory, *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--horizon", "0"),
        ("--horizon", "x"),
        ("--horizon", "9" * 30),
        ("--horizon", "²"),
        ("--time-axis", "0"),
        ("--metric", "beauty"),
    ],
)
def test_options_that_cannot_be_read_are_refused(directory: Path, options: tuple[str, ...]) -> None:
    result = call("build", directory, "--out", directory.parent / "out", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert options[0] in result.stderr
    assert not (directory.parent / "out").exists()


def test_models_without_layers_are_refused(directory: Path) -> None:
    code = "class Plain(nn.Linear):\n    def forward(self, pixels):\n        return super().forward(pixels)\n"
    append_code(f"{code}\ndef make(**_):\n    return Plain(1, 2)\n")(directory)
    save_file(torch.nn.Linear(1, 2).state_dict(), directory / "weights.safetensors")
    assert "no layer that ssm2edge knows" in refused(directory)


def test_pickles_are_refused_without_trust(directory: Path) -> None:
    torch.save(tiny_model(), directory / "weights.pt")
    assert "--trust-pickle" in refused(directory, "--weights", directory / "weights.pt")


def test_sources_that_are_nothing_are_refused(tmp_path: Path) -> None:
    for source, built, inspected in (
        (tmp_path / "absent", "neither a model directory nor a factory", "neither a model directory nor a factory"),
        (tmp_path, "has no build.toml", "has no build.toml"),
        # Inspecting needs no samples.
        ("model.py:make", "name an npz file with --samples", "model.py does not exist"),
    ):
        assert built in one_sentence(call("build", source, "--out", tmp_path / "out", "--order", 2))
        assert inspected in one_sentence(call("inspect", source))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_taken_places_are_left_alone(directory: Path, tmp_path: Path, force: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    before = everything(tmp_path)
    text = one_sentence(call("build", directory, "--out", out, *(["--force"] if force else [])))
    assert ("--force" in text) == (not force) or "not an ssm2edge artifact" in text
    assert everything(tmp_path) == before


def test_inspect_refuses_the_same(directory: Path) -> None:
    change_weights(lambda w: w.pop("decoder.bias"))(directory)
    assert "lacks decoder.bias" in one_sentence(call("inspect", directory))
    assert "lacks decoder.bias" in one_sentence(call("inspect", directory, "--json"), as_json=True)


def test_wrong_usage_is_told_to_programs(directory: Path) -> None:
    result = call("inspect", directory, "--horizon", "x", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["exit_code"]) == (2, 2)
    assert "'x' is neither a number of taps" in told["error"]
    assert "--horizon" in result.stderr
