"""Synthetic signals that are moved until a model recognises classes: it does, and what is known of the inputs stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.calibration.evoked import evoked
from ssm2edge.workers import one_thread_each
from tests.coloured_signals import LENGTH, classifier, systems_of

COUNT = 12


def noise(features: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(3).standard_normal((COUNT, LENGTH, features))
    return (0.5 + 2 * drawn).astype(np.float32)


def decided() -> nn.Module:
    """A classifier that takes noise for one of two classes, and is not sure of it."""
    model = classifier()
    decoder = nn.Linear(4, 2)
    seen: list[Tensor] = []
    model.decoder = decoder
    with torch.no_grad():
        handle = decoder.register_forward_hook(lambda module, args, answer: seen.append(args[0]))
        model(torch.from_numpy(noise()))
        handle.remove()
        features = seen[0].flatten(0, -2)
        decoder.weight.div_(features.std(0))
        decoder.bias.copy_(-(decoder.weight @ features.mean(0)))
    return model


def moved(
    model: nn.Module, inputs: dict[str, np.ndarray], seed: int = 0, metric: str | None = "accuracy"
) -> dict[str, np.ndarray]:
    return evoked(model, systems_of(model), inputs, dict.fromkeys(inputs, 1), [metric], seed)


def surprise(model: nn.Module, inputs: np.ndarray) -> float:
    """Mean entropy of what a model answers, in units of that of an even guess."""
    with torch.no_grad():
        p = model(torch.from_numpy(inputs)).softmax(-1)
    return float(-(p * p.log()).sum(-1).mean() / np.log(p.shape[-1]))


def test_the_original_recognises_classes_by_lot() -> None:
    model, inputs = decided(), noise()
    for seed in (0, 1):
        found = moved(model, {"pixels": inputs}, seed)["pixels"]
        assert surprise(model, found) < 0.7 * surprise(model, inputs)
        wanted = torch.randint(2, (COUNT,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            assert (model(torch.from_numpy(found)).argmax(-1) == wanted).float().mean() > 0.8


def test_mean_deviation_and_smoothness_stay() -> None:
    inputs = noise()
    found = moved(decided(), {"pixels": inputs})["pixels"]
    assert found.dtype == inputs.dtype
    assert found.shape == inputs.shape
    np.testing.assert_allclose(found.mean(), inputs.mean(), atol=1e-3)
    np.testing.assert_allclose(found.std(), inputs.std(), rtol=1e-3)
    # All of a sequence is made quieter by what is added to it.
    start, end = (x - x.mean(1, keepdims=True) for x in (inputs, found))
    added = end - start * (start * end).sum(1, keepdims=True) / np.square(start).sum(1, keepdims=True)
    change = np.abs(np.fft.rfft(added, axis=1)).mean((0, 2))
    third = len(change) // 3
    assert change[1:third].sum() > 3 * change[-third:].sum()


def test_threads_change_no_bit() -> None:
    model, inputs, before = decided(), {"pixels": noise()}, torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = moved(model, inputs)["pixels"]
        torch.set_num_threads(3)
        np.testing.assert_array_equal(moved(model, inputs)["pixels"], alone)
    finally:
        torch.set_num_threads(before)


class Blind(nn.Module):
    """Rounds its inputs: no gradient goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = decided()

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            y: Tensor = self.inner(pixels)
        return y


@pytest.mark.parametrize(("make", "metric"), [(Blind, "accuracy"), (classifier, "accuracy"), (decided, "nrmse"), (decided, None)])
def test_what_holds_no_logits_recognises_nothing_or_has_no_gradient_leaves_the_signals_as_they_are(
    make: Callable[[], nn.Module], metric: str | None
) -> None:
    inputs = noise()
    with one_thread_each():
        np.testing.assert_array_equal(moved(make(), {"pixels": inputs}, metric=metric)["pixels"], inputs)
