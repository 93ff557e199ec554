"""Retraining with labels: never worse than its start, reproducible, stable, and nothing moves that may not."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.digits.model import make
from models.sysid.model import make as make_sysid
from ssm2edge.errors import UserError
from ssm2edge.layers import block_of, blocks, find_layers, replace_layers
from ssm2edge.reduction import reduce_system
from ssm2edge.retraining.finetuning import Training, finetune, hold_back
from tests.random_banks import random_bank

GENERATOR = np.random.default_rng(0)
LENGTH = 24
INPUTS = {"pixels": GENERATOR.standard_normal((40, LENGTH, 1)).astype(np.float32)}
# What a filter can tell: whether neighbouring samples agree in sign.
LABELS = (np.mean(INPUTS["pixels"][:, 1:, 0] * INPUTS["pixels"][:, :-1, 0], axis=1) > 0).astype(np.int64)
TRAINING = Training(epochs=3, batch=8, held_back=0.25, learning_rate=1e-2)


def classifier(dropout: float = 0.0, order: int = 2) -> nn.Module:
    """Two reduced S4D layers of 4 channels."""
    torch.manual_seed(1)
    original = make(channels=4, states=8, layers=2, dropout=dropout).eval()
    systems = {layer.name: reduce_system(layer.system, order, "balanced", LENGTH).system for layer in find_layers(original)}
    return replace_layers(original, systems)


class Filter(nn.Module):
    """A bank whose outputs, ``(batch, channels, time)``, are the model's."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.bank = block_of(random_bank(3, 4, seed=seed))

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.bank(u)
        return y


class Transposed(nn.Module):
    """Exchanges the last two axes."""

    def forward(self, u: Tensor) -> Tensor:
        return u.mT


def cross_entropy(model: nn.Module, rows: np.ndarray[Any, Any]) -> float:
    """The loss on some of the samples, all at once."""
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(INPUTS["pixels"][rows]))
    chances = torch.softmax(logits.double(), -1)[torch.arange(len(rows)), torch.from_numpy(LABELS[rows])]
    return float(-chances.log().mean())


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_result_is_the_best_iterate_on_the_held_back_part() -> None:
    model = classifier()
    result = finetune(model, INPUTS, LABELS, training=TRAINING)
    _, held = hold_back(len(LABELS), TRAINING.held_back, TRAINING.seed)
    losses = [epoch.held_back_loss for epoch in result.epochs]
    assert len(losses) == 4
    assert losses[0] == pytest.approx(cross_entropy(model, held), rel=1e-4)
    assert cross_entropy(result.model, held) == pytest.approx(min(losses), rel=1e-4)
    assert losses[result.best] == min(losses) < losses[0]


@pytest.mark.slow
def test_training_that_only_does_harm_returns_the_start() -> None:
    model = classifier()
    result = finetune(model, INPUTS, LABELS, training=replace(TRAINING, learning_rate=30.0, largest_gradient=1e3))
    assert result.best == 0
    assert all(epoch.held_back_loss > result.epochs[0].held_back_loss for epoch in result.epochs[1:])
    assert same(weights(model), weights(result.model))


def test_training_that_leaves_the_finite_numbers_ends_there() -> None:
    def poisoned(inputs: tuple[Tensor, ...], labels: Tensor, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        return tuple(x * float("inf") for x in inputs), labels

    model = classifier()
    result = finetune(model, INPUTS, LABELS, training=TRAINING, augment=poisoned)
    assert len(result.epochs) == 1
    assert same(weights(model), weights(result.model))


def test_callers_model_and_generators_stay_as_they_are() -> None:
    model = classifier(dropout=0.3)
    model.train()
    model.decoder.bias.requires_grad_(False)
    before, mode = weights(model), {name: module.training for name, module in model.named_modules()}
    generators = torch.get_rng_state(), np.random.get_state()[1].tolist()
    result = finetune(model, INPUTS, LABELS, training=TRAINING)
    assert same(before, weights(model))
    assert {name: module.training for name, module in model.named_modules()} == mode
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.random.get_state()[1].tolist() == generators[1]
    for one, other in zip(model.parameters(), result.model.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert one.grad is None
    assert torch.equal(result.model.decoder.bias, model.decoder.bias)
    assert not same(before, weights(result.model))


def test_same_seed_same_model_whatever_the_global_generator() -> None:
    def noisy(inputs: tuple[Tensor, ...], labels: Tensor, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        return tuple(x + 0.1 * torch.randn(x.shape, generator=generator) for x in inputs), labels

    model, ends = classifier(dropout=0.3), []
    for seed in (0, 0, 1):
        torch.rand(7)
        ends.append(finetune(model, INPUTS, LABELS, training=replace(TRAINING, seed=seed), augment=noisy))
    assert same(weights(ends[0].model), weights(ends[1].model))
    assert ends[0].epochs == ends[1].epochs
    assert not same(weights(ends[0].model), weights(ends[2].model))


def test_only_the_blocks_move_when_asked() -> None:
    model = classifier(dropout=0.3)
    model.encoder = nn.Sequential(nn.Linear(1, 4), Transposed(), nn.BatchNorm1d(4), Transposed())
    before = weights(model)
    after = weights(finetune(model, INPUTS, LABELS, training=replace(TRAINING, only_blocks=True)).model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    inside = {f"{name}.block.{p}" for name, block in blocks(model).items() for p, _ in block.named_parameters()}
    assert moved == inside
    freely = weights(finetune(model, INPUTS, LABELS, training=TRAINING).model)
    assert {"decoder.weight", "encoder.2.running_mean"} <= {
        name for name in before if not torch.equal(before[name], freely[name])
    }


def test_poles_move_at_their_own_rate() -> None:
    model = classifier()
    start = blocks(model)["layers.0"].system().poles
    distances = []
    for rate in (1e-6, 1e-2):
        result = finetune(model, INPUTS, LABELS, training=replace(TRAINING, dynamics_rate=rate))
        assert result.best > 0
        distances.append(float((blocks(result.model)["layers.0"].system().poles - start).abs().max()))
    assert distances[0] < 1e-4 < 1e-3 < distances[1]


def test_poles_do_not_decay_and_everything_else_does() -> None:
    class Offset(nn.Module):
        """An answer that does not depend on the bank: its parameters move by decay alone."""

        def __init__(self) -> None:
            super().__init__()
            self.bank, self.offset = block_of(random_bank(3, 4)), nn.Parameter(torch.zeros(1))

        def forward(self, u: Tensor) -> Tensor:
            y: Tensor = 0 * self.bank(u).mean((1, 2)) + self.offset
            return y

    model, inputs = Offset(), {"u": np.ones((12, 3, LENGTH), np.float32)}
    result = finetune(model, inputs, np.ones(12, np.float32), "mse", replace(TRAINING, decay=0.9))
    assert result.best > 0
    before, after = weights(model), weights(result.model)
    assert torch.equal(after["bank.dynamics"], before["bank.dynamics"])
    assert (after["bank.output"].abs() < before["bank.output"].abs()).all()


def test_gradients_are_clipped_to_their_largest_norm() -> None:
    model = classifier()
    moved = []
    for largest in (1e-12, 1e12):
        result = finetune(model, INPUTS, LABELS, training=replace(TRAINING, decay=0.0, largest_gradient=largest))
        assert result.best > 0
        pairs = zip(model.parameters(), result.model.parameters(), strict=True)
        moved.append(max(float((after - before).detach().abs().max()) for before, after in pairs))
    # Adam adds 1e-8 to the size of a gradient that it divides by.
    assert moved[0] < 1e-3 * moved[1]


def test_reckless_training_stays_stable() -> None:
    model = classifier(order=4)
    seen: list[float] = []
    training = replace(TRAINING, dynamics_rate=2.0, learning_rate=0.05)

    def escape(outputs: Tensor, labels: Tensor) -> Tensor:
        return -outputs.square().mean()

    result = finetune(model, INPUTS, LABELS, escape, training, progress=lambda epoch: seen.append(epoch.held_back_loss))
    assert result.best > 0
    for name, block in blocks(result.model).items():
        poles = block.system().poles
        assert (poles.abs() < 1).all()
        assert (poles - blocks(model)[name].system().poles).abs().max() > 0.05
    assert seen == [epoch.held_back_loss for epoch in result.epochs]


def test_sequences_are_learnt_by_their_square_error() -> None:
    u = np.random.default_rng(3).standard_normal((60, 3, 20)).astype(np.float32)
    truth, model = Filter(seed=1), Filter(seed=1)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        wanted = truth(torch.from_numpy(u)).numpy()
    training = Training(epochs=30, batch=10, learning_rate=3e-2, dynamics_rate=1e-2, decay=0.0)
    result = finetune(model, {"u": u}, wanted, "mse", training)
    assert result.epochs[result.best].held_back_loss < 0.05 * result.epochs[0].held_back_loss


def test_quadratic_systems_of_many_inputs_are_retrained_and_stay_stable() -> None:
    torch.manual_seed(2)
    original = make_sysid(width=4, states=6, rank=2, layers=1).eval()
    systems = {layer.name: reduce_system(layer.system, 4, "balanced", 20).system for layer in find_layers(original)}
    model = replace_layers(original, systems)
    u = np.random.default_rng(3).standard_normal((30, 20, 1)).astype(np.float32)
    result = finetune(model, {"voltage": u}, u**2, "mse", replace(TRAINING, dynamics_rate=0.1))
    assert result.best > 0
    for name, block in blocks(result.model).items():
        start = blocks(model)[name]
        assert (block.system().poles.abs() < 1).all()
        for (parameter, one), other in zip(block.named_parameters(), start.parameters(), strict=True):
            assert not torch.equal(one, other), parameter


def test_classes_of_every_time_step_are_learnt() -> None:
    model = Filter(seed=1)
    stepwise = nn.Sequential(model, Transposed())
    u = np.random.default_rng(3).standard_normal((30, 3, 20)).astype(np.float32)
    result = finetune(stepwise, {"u": u}, u.argmax(1), training=replace(TRAINING, learning_rate=5e-2))
    logits = stepwise(torch.from_numpy(u)).double().detach()
    _, held = hold_back(30, 0.25, 0)
    chances = np.take_along_axis(torch.softmax(logits, -1).numpy()[held], u.argmax(1)[held][..., None], -1)
    assert result.epochs[0].held_back_loss == pytest.approx(-np.log(chances).mean(), rel=1e-4)
    assert result.best > 0


def test_score_sees_the_whole_held_back_part_and_chooses_nothing() -> None:
    sizes: list[tuple[int, int]] = []

    def score(outputs: Tensor, labels: Tensor) -> float:
        sizes.append((len(outputs), len(labels)))
        return -float(len(sizes))

    plain = finetune(classifier(), INPUTS, LABELS, training=TRAINING)
    scored = finetune(classifier(), INPUTS, LABELS, training=TRAINING, score=score)
    assert sizes == [(10, 10)] * 4
    assert [epoch.score for epoch in scored.epochs] == [-1, -2, -3, -4]
    assert same(weights(plain.model), weights(scored.model))


def test_parts_hold_every_sample_once() -> None:
    kept, held = hold_back(23, 0.3, seed=4)
    assert len(held) == 7
    assert sorted([*kept, *held]) == list(range(23))


def poisoned_inputs() -> dict[str, np.ndarray[Any, Any]]:
    bad = copy.deepcopy(INPUTS)
    bad["pixels"][3, 2] = np.nan
    return bad


@pytest.mark.parametrize(
    ("inputs", "labels", "loss", "message"),
    [
        (poisoned_inputs(), LABELS, "cross_entropy", "Input pixels holds NaN or infinite values"),
        (INPUTS, LABELS[:-1], "cross_entropy", "Input pixels has 40 samples, but there are 39 labels"),
        ({"pixels": INPUTS["pixels"][:1]}, LABELS[:1], "cross_entropy", "1 samples are too few"),
        ({}, LABELS, "cross_entropy", "no inputs"),
        ({"pixels": INPUTS["pixels"][..., 0]}, LABELS, "cross_entropy", "cannot take the inputs"),
        (INPUTS, np.where(LABELS > 0, np.nan, 0.0), "mse", "labels hold NaN"),
        (INPUTS, LABELS.astype(np.float32), "cross_entropy", "give integers of shape"),
        (INPUTS, LABELS + 9, "cross_entropy", "the model has 10 classes"),
        (INPUTS, LABELS.astype(np.float32), "mse", "one label per output"),
        (INPUTS, LABELS, "hinge", "no loss 'hinge'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(inputs: Any, labels: Any, loss: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        finetune(classifier(), inputs, labels, loss, TRAINING)


def test_models_without_blocks_and_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="no reduced block"):
        finetune(make(channels=4, states=8, layers=1), INPUTS, LABELS)
    broken = classifier()
    with torch.no_grad():
        broken.decoder.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        finetune(broken, INPUTS, LABELS, training=TRAINING)


@pytest.mark.parametrize(
    "option",
    [{"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"dynamics_rate": float("nan")}, {"decay": -1.0}, {"held_back": 1.0}],
)
def test_options_out_of_range_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        Training(**option)


def test_tensors_are_taken_as_arrays_are() -> None:
    model = classifier()
    arrays = finetune(model, INPUTS, LABELS, training=TRAINING)
    tensors = finetune(model, {"pixels": torch.from_numpy(INPUTS["pixels"])}, torch.from_numpy(LABELS), training=TRAINING)
    assert tensors.epochs == arrays.epochs
