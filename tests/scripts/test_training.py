"""Training: what it computes in place of the layers' own forwards, what it goes on from, and the data that retraining reads."""

from __future__ import annotations

import functools
import gzip
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scripts.labelled_tasks import TASKS
from scripts.model_modules import load_model_module
from scripts.train_digits import modes
from scripts.train_fashion import layer_by_kernels, stable_poles
from scripts.training import Recipe, modal_kernel, train_classifier

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS, SCRIPTS = ROOT / "models", ROOT / "scripts"


def test_convolution_with_the_kernels_is_what_an_s5_layer_computes() -> None:
    torch.manual_seed(0)
    layer = load_model_module(MODELS / "fashion").make(width=6, states=64).blocks[0].s5
    signal = torch.randn(3, 28, 6)
    torch.testing.assert_close(layer_by_kernels(layer.seq, signal), layer(signal), rtol=1e-4, atol=1e-5)
    # A pole that has left the left half plane is trained as one at its edge, and the shipped weights have it there.
    with torch.no_grad():
        layer.seq.Lambda[3] = 0.1 + 2j
        trained = layer_by_kernels(layer.seq, signal)
        assert not torch.allclose(trained, layer(signal), rtol=1e-4, atol=1e-5)
        layer.seq.Lambda.copy_(stable_poles(layer.seq))
    assert bool((layer.seq.Lambda.real < 0).all())
    torch.testing.assert_close(trained, layer(signal), rtol=1e-4, atol=1e-5)


def test_two_short_tables_give_the_kernels_of_an_s4d_layer() -> None:
    torch.manual_seed(0)
    kernel = load_model_module(MODELS / "digits").make().layers[0].kernel
    torch.testing.assert_close(modal_kernel(functools.partial(modes, kernel), 784), kernel(784), rtol=1e-4, atol=1e-5)


def write_idx(file: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.asarray(values.shape, ">u4").tobytes()
    file.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_fashion_is_retrained_on_the_training_part_and_judged_on_the_test_part(tmp_path: Path) -> None:
    pictures = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 251
    for part, shift in (("train", 0), ("t10k", 3)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", (pictures + shift) % 251)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.array([shift, shift + 1]))
    task = TASKS["fashion"](tmp_path)
    assert task.labels.tolist() == [0, 1]
    assert task.held_out[1].tolist() == [3, 4]
    np.testing.assert_allclose(task.inputs, pictures / 255, atol=1e-3)
    np.testing.assert_allclose(task.held_out[0].numpy(), (pictures + 3) % 251 / 255, atol=1e-3)
    with pytest.raises(SystemExit, match="dataset-fashion-mnist"):
        TASKS["fashion"](tmp_path / "elsewhere")


class Interruption(Exception):
    """Ctrl-C, at a place that the test chooses."""


def small_training(output: Path, epochs_before_interruption: int | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    inputs, labels = torch.randn(20, 3), torch.arange(20) % 2
    batches = 0

    def augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        nonlocal batches
        if epochs_before_interruption is not None and batches == 2 * epochs_before_interruption + 1:
            raise Interruption
        batches += 1
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)

    train_classifier(model, (inputs, labels), (inputs, labels), Recipe(4, 10, 1e-2, seed=1), output, augment)
    return load_file(output / "weights.safetensors")


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_an_interrupted_training_ends_where_one_that_was_not_ends(tmp_path: Path, epochs: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    expected = small_training(whole, None)
    with pytest.raises(Interruption):
        small_training(parts, epochs)
    assert (parts / "training-1.checkpoint").exists() == (epochs > 0)
    found = small_training(parts, None)
    assert {file.name for file in parts.iterdir()} == {"weights.safetensors"}
    for name, values in expected.items():
        assert torch.equal(found[name], values), name


@pytest.mark.slow
def test_an_interrupted_identification_goes_on(tmp_path: Path) -> None:
    def run(output: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", str(SCRIPTS / "train_sysid.py"), "--steps", "200", "--output", str(output), *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with run(tmp_path / "whole") as whole:
        assert whole.stdout is not None
        expected = whole.stdout.read()
    with run(tmp_path / "parts") as interrupted:
        assert interrupted.stdout is not None
        first = interrupted.stdout.readline()
        while not list((tmp_path / "parts").glob("*.checkpoint")):
            time.sleep(0.01)
        interrupted.kill()
    with run(tmp_path / "parts") as rest:
        assert rest.stdout is not None
        told = rest.stdout.read()
    assert first.startswith("step 100/200")
    assert "step 100/200" not in told
    assert told.partition(";")[0].rpartition("held-out")[2] == expected.partition(";")[0].rpartition("held-out")[2]
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
