"""Spectra of what enters a layer: numpy's means over the samples, in batches of any size, of the network reduced so far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.calibration import Signals, calibrate_spectrum
from ssm2edge.calibration.bank_spectrum import calibrated_bank
from ssm2edge.calibration.mimo_least_squares import calibrated_mimo
from ssm2edge.calibration.signals import Place, entering, runs_of_layers
from ssm2edge.calibration.spectra import gather_spectra
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import block_of, exchange_block, replace_layers
from tests.coloured_signals import LENGTH, classifier, coloured, follower, reduced_to, sequences, spectrum_of, systems_of

FIRST, SECOND = "layers.0", "layers.1"


class Repeated(nn.Module):
    """One S4D layer that runs twice, and one that never does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layer = S4D(3, 6)
        self.unused = S4D(3, 6)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.layer(2 * self.layer(u)[0])[0]
        return y


def entering_second(network: nn.Module, pixels: Tensor) -> np.ndarray:
    """What a classifier's second layer gets, told step by step."""
    with torch.no_grad():
        z = network.encoder(pixels)
        y = network.layers[0](network.norms[0](z).mT)[0]
        return network.norms[1](z + y.mT).mT.numpy()


def test_spectra_are_means_over_the_samples_of_the_reduced_and_of_the_original_network() -> None:
    model, signals = classifier(), sequences(11)
    systems = systems_of(model)
    teacher = Teacher(model, systems)
    network = replace_layers(model, systems | {FIRST: reduced_to(systems, 2)[FIRST]}).eval()
    spectra = gather_spectra(Place(teacher.network, network, SECOND, 1, signals))
    U, original = (spectrum_of(entering_second(x, signals.inputs[0])) for x in (network, model))
    power, cross = (np.abs(U) ** 2).mean(0), (U.conj() * original).mean(0)
    scale = power.mean()
    assert spectra.length == LENGTH
    np.testing.assert_allclose(spectra.power.numpy() / scale, power / scale, atol=1e-4)
    np.testing.assert_allclose(spectra.cross.numpy() / scale, cross / scale, atol=1e-4)
    # The reduction below is seen: neither is the original's own power.
    own = (np.abs(original) ** 2).mean(0) / scale
    assert np.abs(own - power / scale).max() > 1e-2
    assert np.abs(own - np.abs(cross) / scale).max() > 1e-2


@pytest.mark.parametrize("at_once", [1, 7])
def test_batches_of_any_size_give_the_same(at_once: int) -> None:
    model = classifier()
    systems = systems_of(model)
    original = Teacher(model, systems).network.double()
    network = replace_layers(model, reduced_to(systems, 2)).eval().double()
    inputs = sequences(16).inputs[0].double()
    whole, parts = (
        gather_spectra(Place(original, network, SECOND, 1, Signals([inputs], n, inputs.shape[-1]))) for n in (16, at_once)
    )
    scale = float(whole.power.max())
    for name in ("power", "cross"):
        torch.testing.assert_close(getattr(parts, name) / scale, getattr(whole, name) / scale, rtol=0, atol=1e-12)


def test_no_batch_is_larger_than_asked_for() -> None:
    signals = sequences(16, at_once=7)
    assert [len(batch[0]) for batch in signals] == [7, 7, 2]
    torch.testing.assert_close(torch.cat([batch[0] for batch in signals]), signals.inputs[0], rtol=0, atol=0)


def test_every_run_of_a_layer_counts_and_one_that_never_runs_is_left_out() -> None:
    model = Repeated()
    systems = systems_of(model)
    teacher, network = Teacher(model, systems), replace_layers(model, reduced_to(systems, 2)).eval()
    u = torch.from_numpy(coloured(6, 3, LENGTH))
    signals = Signals([u], 4, u.shape[-1])
    assert runs_of_layers(network, list(systems), signals)["layer"].count == 2
    spectra = gather_spectra(Place(teacher.network, network, "layer", 2, signals))
    with torch.no_grad():
        both = torch.cat((u, 2 * network.layer(u)[0])).numpy()
        original = torch.cat((u, 2 * model.layer(u)[0])).numpy()
    U = spectrum_of(both)
    np.testing.assert_allclose(spectra.power.numpy(), (np.abs(U) ** 2).mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(spectra.cross.numpy(), (U.conj() * spectrum_of(original)).mean(0), rtol=1e-3, atol=1e-3)


def test_listening_leaves_no_hook_and_no_gradient_and_goes_no_further() -> None:
    model = classifier()
    systems = systems_of(model)
    network = replace_layers(model, systems).eval()
    reached: list[int] = []
    network.norms[1].register_forward_pre_hook(lambda *_: reached.append(1))
    (taken,) = entering(network, FIRST, 1, (sequences(3).inputs[0],))
    assert taken.shape == (3, 4, LENGTH)
    assert not taken.requires_grad
    assert reached == []
    assert not network.layers[0].block._forward_pre_hooks


def test_deep_layers_are_reduced_for_the_inputs_of_the_reduced_network() -> None:
    model, signals = classifier(), sequences(20)
    systems = systems_of(model)
    reduced = reduced_to(systems, 2)
    teacher = Teacher(model, systems)
    better = calibrate_spectrum(teacher, model, systems, reduced, signals)
    network = replace_layers(model, systems).eval()

    def second() -> Tensor:
        spectra = gather_spectra(Place(teacher.network, network, SECOND, 1, signals))
        return calibrated_bank(systems[SECOND], reduced[SECOND], spectra).poles

    unaware = second()
    exchange_block(network, FIRST, block_of(better[FIRST]))
    torch.testing.assert_close(better[SECOND].poles, second(), rtol=1e-6, atol=1e-9)
    assert float((better[SECOND].poles - unaware).abs().max()) > 1e-4


def test_quadratic_outputs_stay_as_they_were_reduced_where_signals_only_resemble_the_inputs() -> None:
    model, signals = follower(2), sequences(20)
    systems = systems_of(model)
    reduced = reduced_to(systems, 2)
    teacher = Teacher(model, systems)
    for careful in (True, False):
        better = calibrate_spectrum(teacher, model, systems, reduced, signals, careful=careful)
        assert all((better[name] is reduced[name]) is careful for name in systems)


def test_linear_layers_behind_quadratic_ones_are_reduced_for_the_inputs_that_these_give_them() -> None:
    model, signals = follower(2), sequences(20)
    systems = systems_of(model)
    first, second = systems
    systems = systems | {second: replace(systems[second], M=None)}
    reduced = reduced_to(systems, 2)
    teacher = Teacher(model, systems)
    better = calibrate_spectrum(teacher, model, systems, reduced, signals, careful=True)
    assert better[first] is reduced[first]
    network = replace_layers(model, systems | {first: reduced[first]}).eval()
    place = Place(teacher.network, network, second, 1, signals)
    alone = calibrated_mimo(place, systems[second], reduced[second], "gradient")
    torch.testing.assert_close(better[second].poles, alone.poles, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(better[second].C, alone.C, rtol=1e-4, atol=1e-6)
