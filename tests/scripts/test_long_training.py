"""Trainings of hours: what they compute in place of the layers' own forwards, what they go on from, how they see words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scripts.fast_convolution import bidirectional_forward
from scripts.fast_scan import bidirectional_answers, lru_forward, quadratic_forward, s5_forward, system_forward
from scripts.long_training import LongRecipe, train
from scripts.model_modules import load_model_module
from scripts.train_imdb import accuracy, batch_of, draw, parted
from scripts.word_polarity import polarities
from ssm2edge.layers import find_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.system import System
from tests.random_mimo import random_mimo

MODELS = Path(__file__).resolve().parent.parent.parent / "models"


def gradients(answers: Tensor, module: nn.Module, signal: Tensor) -> list[Tensor]:
    """Derivatives of a fixed function of the answers by the signal and every parameter, in the order of the parameters."""
    weights = torch.sin(torch.arange(answers.numel()).reshape(answers.shape).float())
    return list(torch.autograd.grad((answers * weights).sum(), [signal, *module.parameters()]))


@pytest.mark.parametrize("length", [2, 37, 64])
def test_chunked_recurrence_is_what_an_lru_computes_and_so_are_its_gradients(length: int) -> None:
    torch.manual_seed(0)
    unit = load_model_module(MODELS / "f16").LRU(5, 7)
    signal = torch.randn(2, length, 5, requires_grad=True)
    answers, expected = lru_forward(unit, signal), unit(signal)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(gradients(answers, unit, signal), gradients(expected, unit, signal), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [2, 37, 64])
@pytest.mark.parametrize("kind", ["S5 in both directions", "quadratic outputs"])
def test_chunked_recurrence_is_what_layers_of_shared_states_compute_and_so_are_its_gradients(length: int, kind: str) -> None:
    torch.manual_seed(0)
    if kind == "quadratic outputs":
        layer, fast = load_model_module(MODELS / "imdb_quadratic").LRU(5, 7, 3), quadratic_forward
    else:
        layer, fast = load_model_module(MODELS / "imdb_s5").S5(5, 7), s5_forward
    signal = torch.randn(2, length, 5, requires_grad=True)
    answers, expected = fast(layer, signal), layer(signal)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(gradients(answers, layer, signal), gradients(expected, layer, signal), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_chunked_recurrence_is_what_a_read_and_reduced_system_computes() -> None:
    torch.manual_seed(0)
    model = load_model_module(MODELS / "f16").make(width=4, modes=6, hidden=8, layers=1)
    signal = torch.randn(2, 50, 4)
    with torch.no_grad():
        (layer,) = find_layers(model)
        torch.testing.assert_close(system_forward(layer.system, signal), model.layers[0].lru(signal), rtol=1e-4, atol=1e-5)
        reduced = reduce_layers({layer.name: layer.system}, {layer.name: 5}, "balanced", 50)[layer.name].system
        block = replace_layers(model, {layer.name: reduced}).layers[0].lru
        torch.testing.assert_close(system_forward(reduced, signal), block(signal), rtol=1e-4, atol=1e-5)


def run(system: System, u: Tensor) -> Tensor:
    """The answer of one system in float64 to ``(inputs, batch, time)``, sample by sample."""
    x, answers = torch.zeros(system.order, u.shape[1], dtype=torch.complex128), []
    for sample in u.double().unbind(-1):
        before, x = x, system.poles[:, None] * x + system.B @ sample.to(x)
        y = (system.C @ (x if system.after_sample else before)).real + system.D @ sample
        if system.M is not None:
            y = y + torch.einsum("pij,ib,jb->pb", system.M, before, before).real
        answers.append(y)
    return torch.stack(answers, dim=-1)


@pytest.mark.parametrize("orders", [(5, 5), (4, 7), (1, 6), (6, 1)])
@pytest.mark.parametrize(
    ("reads", "feedthrough"),
    [
        ("after the sample", "of each channel to itself"),
        ("after the sample", "none"),
        ("before the sample", "full"),
        ("before the sample", "none"),
        ("squares", "full"),
    ],
)
def test_answers_of_both_directions_are_the_sum_of_each(orders: tuple[int, int], feedthrough: str, reads: str) -> None:
    u = torch.randn(3, 2, 37, generator=torch.Generator().manual_seed(0))
    kept = {"full": torch.ones(3, 3), "of each channel to itself": torch.eye(3), "none": torch.zeros(3, 3)}[feedthrough]
    past, future = (
        dataclasses.replace(system, D=system.D * kept, after_sample=reads == "after the sample")
        for system in (random_mimo(order, 3, 3, seed=order, quadratic=2 * (reads == "squares")) for order in orders)
    )
    # Real poles and pairs of complex ones, in both.
    assert all((system.poles.imag == 0).any() for system in (past, future) if system.order % 2)
    assert any((system.poles.imag != 0).any() for system in (past, future))
    expected = run(past, u) + run(future, u.flip(-1)).flip(-1)
    torch.testing.assert_close(
        bidirectional_answers(past, future)(u).double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
    )


@pytest.mark.parametrize("length", [2, 50, 96])
def test_bidirectional_convolution_is_what_the_layer_computes_and_so_are_its_gradients(length: int) -> None:
    torch.manual_seed(0)
    layer = load_model_module(MODELS / "imdb").FFTConv(3, 8, 0.0)
    signal = torch.randn(2, length, 3, requires_grad=True)
    answers, expected = bidirectional_forward(layer)(signal)[0], layer(signal)[0]
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(gradients(answers, layer, signal), gradients(expected, layer, signal), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def trained(folder: Path, stops: tuple[int, ...]) -> Tensor:
    """Weights after a training that is interrupted at these steps, by a fault in its loss."""
    for stop in (*stops, -1):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

        def loss_of(step: int, model: nn.Module = model, stop: int = stop) -> Tensor:
            if step == stop:
                raise KeyboardInterrupt
            return model(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().mean()

        try:
            train(model, loss_of, lambda: {}, LongRecipe(12, 1e-2, 1e-3, warmup=2, minutes=0.0), folder, resume=True)
        except KeyboardInterrupt:
            continue
    return model[0].weight.detach()


def test_interrupted_long_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    assert torch.equal(trained(tmp_path / "broken", (5, 9)), trained(tmp_path / "whole", ()))


def by_the_clock(folder: Path, seconds: float) -> tuple[Tensor, dict[str, float]]:
    """Weights and figures of one run of twelve steps, cut after so many seconds; a later run goes on."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_of(step: int) -> Tensor:
        return model(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().mean()

    figures = train(model, loss_of, lambda: {}, LongRecipe(12, 1e-2, 1e-3, warmup=2), folder, True, seconds)
    return model.weight.detach(), figures


def test_long_training_cut_into_runs_by_the_clock_ends_where_an_uncut_one_does(tmp_path: Path) -> None:
    cut = [by_the_clock(tmp_path / "cut", -1.0) for _ in range(12)]
    assert [figures["step"] for _, figures in cut] == list(range(1, 13))
    assert torch.equal(cut[-1][0], by_the_clock(tmp_path / "whole", float("inf"))[0])


def test_rate_rises_and_falls_to_nothing() -> None:
    recipe = LongRecipe(100, 1e-2, 1e-3, warmup=10)
    shares = [recipe.share(step) for step in range(100)]
    assert np.argmax(shares) == 9
    assert shares[9] == 1.0
    assert np.all(np.diff(shares[10:]) < 0)
    assert shares[-1] < 1e-3


def test_padding_changes_no_answer_about_a_review() -> None:
    torch.manual_seed(0)
    model = load_model_module(MODELS / "imdb").make(channels=8, states=8, layers=2).eval()
    reviews = [b"a short one", b"and one that is a good deal longer than the other"]
    symbols, mask = batch_of(reviews, 80)
    together = model(torch.from_numpy(symbols).long(), torch.from_numpy(mask))
    for row, review in enumerate(reviews):
        alone, whole = batch_of([review], len(review))
        expected = model(torch.from_numpy(alone).long(), torch.from_numpy(whole))
        torch.testing.assert_close(together[row : row + 1], expected, rtol=1e-4, atol=1e-5)


def test_accuracy_is_of_every_review_whatever_their_lengths() -> None:
    class Reads(nn.Module):
        def forward(self, text: Tensor, mask: Tensor) -> Tensor:
            return nn.functional.one_hot(text[:, 0] - 48, 2).float()

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 57)
    reviews = [b"%d" % label + b"x" * int(generator.integers(300)) for label in labels]
    assert accuracy(Reads(), reviews, labels, "cpu", symbols=700) == 1.0
    assert accuracy(Reads(), reviews, 1 - labels, "cpu", symbols=700) == 0.0


def test_batches_hold_like_lengths_and_every_review_comes() -> None:
    lengths = np.random.default_rng(0).integers(50, 5000, 700)
    seen, spreads = set(), []
    for step in range(2000):
        chosen = draw(lengths, 2048, 8192, np.random.default_rng(step))
        cut = np.minimum(lengths[chosen], 2048)
        spreads.append(cut.sum() / (len(cut) * cut.max()))
        seen |= set(chosen.tolist())
    assert np.mean(spreads) > 0.9
    assert len(seen) > 0.99 * len(lengths)


def test_words_that_tell_reviews_apart_get_the_sign_of_their_class() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    fillers = [" ".join(generator.choice(["film", "plot", "it", "was"], 12)) for _ in labels]
    texts = [f"{filler} {'fine' if label else 'dull'}".encode() for filler, label in zip(fillers, labels, strict=True)]
    for text, label, values in zip(texts, labels, polarities(texts, labels), strict=True):
        assert len(values) == len(text)
        assert np.sign(values[-1]) == (1 if label else -1)
        assert abs(values[-1]) > 2 * np.abs(values[: text.rindex(b" ")]).max()
        assert values[text.rindex(b" ")] == 0


@pytest.mark.parametrize("held_back", [0, 7])
def test_reviews_that_are_held_back_are_not_trained_on_and_the_others_keep_their_order(held_back: int) -> None:
    taught, back = parted(40, held_back)
    assert len(set(back.tolist())) == held_back
    assert taught.tolist() == [index for index in range(40) if index not in set(back.tolist())]
    assert parted(40, held_back)[1].tolist() == back.tolist()
