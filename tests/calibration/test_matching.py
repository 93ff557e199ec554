"""Output matching: never worse on the held-back part, nothing else moves, reproducible, stable, for every kind of network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.calibration import CALIBRATIONS, Calibrated, Matching, Signals, calibrate
from ssm2edge.calibration.distances import distance_of
from ssm2edge.calibration.matching import Matched, match
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.errors import UserError
from ssm2edge.layers import ReducedMimo, blocks, replace_layers
from ssm2edge.systems.system import System
from tests.coloured_signals import LENGTH, answers, classifier, coloured, follower, reduced_to, sequences, systems_of
from tests.slow_cases import slow
from tests.small_models import tail

MATCHING = Matching(steps=12, batch=8, rate=0.02, held_back=0.25)


def tuple_model() -> nn.Module:
    """``(batch, 4, time)`` to a sequence and a summary."""
    return tail(lambda self, y: (self.mix(y), y.mean(-1)))


def channels(count: int = 20) -> Signals:
    return Signals([torch.from_numpy(coloured(count, 4, LENGTH))], 100, LENGTH)


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Signals], str | None, int]] = {
    "classifier": (classifier, sequences, "accuracy", 2),
    "odd order": (classifier, sequences, None, 3),
    "several outputs": (tuple_model, channels, None, 1),
    "MIMO": (lambda: follower(0), sequences, "nrmse", 3),
    "MIMO with quadratic outputs": (lambda: follower(2), sequences, "nrmse", 4),
}


def matched(kind: str, matching: Matching = MATCHING) -> tuple[nn.Module, nn.Module, nn.Module, Matched]:
    """The original, the reduced network before and after, and what matching says."""
    make, signals, metric, order = KINDS[kind]
    model = make()
    systems = systems_of(model)
    before = replace_layers(model, reduced_to(systems, order)).eval()
    after = copy.deepcopy(before)
    return model, before, after, match(Teacher(model, systems), after, signals(), metric, matching)


def held_back_error(kind: str, model: nn.Module, network: nn.Module) -> float:
    """Root mean square error of all outputs on the held-back part, relative to the original's, told in numpy."""
    _, signals, metric, _ = KINDS[kind]
    inputs = signals().split(MATCHING.held_back, MATCHING.seed)[1].inputs[0]
    with torch.no_grad():
        pairs = [x if isinstance(x, tuple) else (x,) for x in (model(inputs), network(inputs))]
    error = size = 0.0
    for wanted, given in zip(*pairs, strict=True):
        w, g = wanted.double().numpy(), given.double().numpy()
        if metric == "accuracy":
            w, g = (x - x.mean(-1, keepdims=True) for x in (w, g))
        error, size = error + np.square(g - w).mean(), size + np.square(w).mean()
    return float(np.sqrt(error / size))


def bits(model: nn.Module, of_blocks: bool) -> dict[str, Tensor]:
    names = tuple(f"{name}.block." for name in blocks(model))
    return {name: x.clone() for name, x in model.state_dict().items() if name.startswith(names) == of_blocks}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_come_nearer_to_the_originals_and_nothing_but_the_blocks_moves(kind: str) -> None:
    model, before, after, result = matched(kind)
    assert result.before == pytest.approx(held_back_error(kind, model, before), rel=1e-3)
    assert result.after == pytest.approx(held_back_error(kind, model, after), rel=1e-3)
    assert result.after < 0.95 * result.before
    assert 1 <= result.best_step <= MATCHING.steps
    assert same(bits(before, of_blocks=False), bits(after, of_blocks=False))
    assert not same(bits(before, of_blocks=True), bits(after, of_blocks=True))
    for block in blocks(after).values():
        assert float(block.system().poles.abs().max()) < 1
        assert all(p.grad is None for p in block.parameters())


def test_steps_that_only_do_harm_leave_every_bit_of_the_start() -> None:
    for kind in ("classifier", "MIMO with quadratic outputs"):
        _, before, after, result = matched(kind, replace(MATCHING, rate=1e4))
        assert result.after == result.before
        assert result.best_step == 0
        assert same(bits(before, of_blocks=True), bits(after, of_blocks=True))


@pytest.mark.parametrize("kind", ["classifier", "several outputs"])
def test_careful_steps_are_a_share_of_the_error_at_the_start(kind: str) -> None:
    def moved(rate: float, careful: bool) -> tuple[float, Matched]:
        _, before, after, result = matched(kind, replace(MATCHING, steps=1, rate=rate, careful=careful))
        assert result.best_step == 1
        # The feedthrough is linear in the coordinates: one step moves it as far as the rate is large.
        starts = blocks(before)
        return sum(float((b.system().D - starts[name].system().D).abs().sum()) for name, b in blocks(after).items()), result

    step, result = moved(1e-4, careful=False)
    # No step is larger than the rate.
    assert moved(1e-4, careful=True)[0] == step
    assert moved(1.0, careful=True)[0] / step == pytest.approx(max(0.03 * result.before, 0.001) / 1e-4, rel=0.02)


def layers_outputs(network: nn.Module, inputs: Tensor) -> dict[str, tuple[Tensor, NDArray[np.float64]]]:
    """The inputs and outputs of each block in a network; outputs ``(numbers, channels)``."""
    found = {}

    def note(block: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        name = next(name for name, known in blocks(network).items() if known is block)
        found[name] = args[0], outputs_of(block, y)

    handles = [block.register_forward_hook(note) for block in blocks(network).values()]
    with torch.no_grad():
        network(inputs)
    for handle in handles:
        handle.remove()
    return found


def outputs_of(block: nn.Module, y: Tensor) -> NDArray[np.float64]:
    return (y.mT if getattr(block, "time_last", True) else y).detach().flatten(0, -2).double().numpy()


@pytest.mark.parametrize("kind", ["classifier", "several outputs", "MIMO", "MIMO with quadratic outputs"])
def test_careful_matching_moves_no_layers_outputs_far(kind: str) -> None:
    inputs = KINDS[kind][1]().inputs[0]
    furthest = {}
    for careful in (True, False):
        _, before, after, result = matched(kind, replace(MATCHING, steps=60, careful=careful))
        furthest[careful] = 0.0
        for name, (u, y) in layers_outputs(before, inputs).items():
            moved = outputs_of(blocks(after)[name], blocks(after)[name](u)) - y
            share = np.sqrt((np.square(moved).mean(0) / np.square(y).mean(0)).mean())
            furthest[careful] = max(furthest[careful], share)
        if careful:
            # Input rows and poles that outputs share count by their own sizes.
            slack = 4.0 if kind.startswith("MIMO") else 1.1
            assert result.best_step > 0
            assert 0 < furthest[True] < slack * min(0.02, 0.2 * result.before)
    assert furthest[False] > 3 * furthest[True]


class Parallel(nn.Module):
    """Two S4D layers side by side, the second all but unheard."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.loud, self.faint = S4D(4, 8), S4D(4, 8)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.loud(u)[0] + 1e-6 * self.faint(u)[0]
        return y


def test_what_the_outputs_hardly_show_stays_where_it_was() -> None:
    model = Parallel().eval()
    systems = systems_of(model)
    network = replace_layers(model, reduced_to(systems, 2)).eval()
    before = {name: block.system() for name, block in blocks(network).items()}
    result = match(Teacher(model, systems), network, channels(), None, MATCHING)
    assert result.best_step > 0
    moved = {name: float((block.system().C - before[name].C).abs().max()) for name, block in blocks(network).items()}
    assert moved["faint"] < 0.01 * moved["loud"]


def test_one_step_is_enough_to_run() -> None:
    _, _, _, result = matched("classifier", replace(MATCHING, steps=1, batch=1000))
    assert result.after <= result.before
    assert result.best_step in (0, 1)


def test_same_seed_same_bits_and_the_global_generator_is_left_alone() -> None:
    states = []
    for seed in (0, 0, 5):
        torch.manual_seed(int(torch.randint(1000, (1,))))
        model = classifier(dropout=0.3)
        systems = systems_of(model)
        network = replace_layers(model, reduced_to(systems, 2))
        generators = torch.get_rng_state(), np.random.get_state()[1].tolist()
        match(Teacher(model, systems), network, sequences(), "accuracy", replace(MATCHING, seed=seed))
        assert torch.equal(torch.get_rng_state(), generators[0])
        assert np.random.get_state()[1].tolist() == generators[1]
        states.append(bits(network, of_blocks=True))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_progress_ends_at_one() -> None:
    model = classifier()
    systems = systems_of(model)
    shares: list[float] = []
    network = replace_layers(model, reduced_to(systems, 2))
    match(Teacher(model, systems), network, sequences(), None, replace(MATCHING, steps=4), shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"held_back": 0.0}, {"held_back": 1.0}]
)
def test_impossible_budgets_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        replace(MATCHING, **change)


@pytest.mark.parametrize("make", [classifier, lambda: follower(2)])
def test_teacher_answers_as_the_model_does_at_any_length_and_without_gradients(make: Callable[[], nn.Module]) -> None:
    model = make()
    teacher = Teacher(model, systems_of(model))
    for length in (LENGTH, 17, LENGTH):
        inputs = sequences(3, length=length).inputs[0].requires_grad_()
        (given,) = teacher(inputs)
        assert not given.requires_grad
        np.testing.assert_allclose(given.numpy(), answers(model, inputs), atol=2e-5)


def calibrated(kind: str, model: nn.Module, reduced: dict[str, System]) -> Calibrated:
    return calibrate(model, systems_of(model), reduced, sequences(60), kind, None, replace(MATCHING, steps=30), "balanced")


def output_error(model: nn.Module, systems: dict[str, System]) -> float:
    """On samples that calibration has not seen."""
    inputs = sequences(30, seed=7).inputs[0]
    wanted = answers(model, inputs)
    return float(np.linalg.norm(answers(replace_layers(model, systems), inputs) - wanted) / np.linalg.norm(wanted))


@pytest.mark.slow
@pytest.mark.parametrize("make", [classifier, lambda: follower(2)])
def test_matching_does_better_than_every_other_kind_on_fresh_samples(make: Callable[[], nn.Module]) -> None:
    model = make()
    reduced = reduced_to(systems_of(model), 2)
    results = [calibrated(kind, model, reduced) for kind in CALIBRATIONS]
    errors = [output_error(model, result.systems) for result in results]
    assert errors[2] < 0.95 * min(errors[:2])
    assert [result.matched is None for result in results] == [True, True, False]
    assert all(results[0].systems[name] is system for name, system in reduced.items())


def test_spectra_bring_the_outputs_nearer_on_fresh_samples() -> None:
    model = classifier()
    reduced = reduced_to(systems_of(model), 2)
    assert output_error(model, calibrated("spectrum", model, reduced).systems) < 0.95 * output_error(model, reduced)


def test_full_order_is_returned_as_it_is_and_a_mixture_reduces_the_rest() -> None:
    model = classifier()
    systems = systems_of(model)
    for kind in CALIBRATIONS:
        result = calibrated(kind, model, systems)
        assert result.matched is None
        assert all(result.systems[name] is systems[name] for name in systems)
    mixed = calibrated("spectrum", model, systems | {"layers.1": reduced_to(systems, 2)["layers.1"]}).systems
    assert mixed["layers.0"] is systems["layers.0"]
    assert mixed["layers.1"].order == 2


@pytest.mark.parametrize("kind", ["spectrum", slow("match")])
def test_callers_model_stays_as_it_is(kind: str) -> None:
    model = classifier(dropout=0.3).train()
    model.decoder.bias.requires_grad_(False)
    before = copy.deepcopy(model)
    calibrated(kind, model, reduced_to(systems_of(model), 2))
    assert same(before.state_dict(), model.state_dict())
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert one.grad is None


def test_unknown_kind_is_refused() -> None:
    model = classifier()
    with pytest.raises(ValueError, match=r"no calibration 'labels'.*none, spectrum, match"):
        calibrated("labels", model, systems_of(model))


def test_quadratic_outputs_are_still_there_after_matching() -> None:
    _, _, after, _ = matched("MIMO with quadratic outputs")
    for block in blocks(after).values():
        assert isinstance(block, ReducedMimo)
        assert block.system().M is not None


def test_what_all_scores_have_in_common_counts_in_outputs_that_are_no_scores() -> None:
    scores, values = torch.randn(5, 3), torch.randn(5, 7, 2)
    shifted = (scores + 2.0, values + 3.0)
    wanted = {"accuracy": 0.0, None: 4.0 + 9.0, ("accuracy", "nrmse"): 9.0, ("nrmse", "accuracy"): 4.0, (None, "nrmse"): 13.0}
    for metric, distance in wanted.items():
        assert float(distance_of(metric)(shifted, (scores, values))) == pytest.approx(distance, abs=1e-4)
