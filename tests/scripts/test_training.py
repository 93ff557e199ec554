"""What training computes in place of the layers' own forwards, and the data that retraining reads."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.labelled_tasks import TASKS
from scripts.model_modules import load_model_module
from scripts.train_digits import modes
from scripts.train_fashion import layer_by_kernels, stable_poles
from scripts.training import modal_kernel

MODELS = Path(__file__).resolve().parent.parent.parent / "models"


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
