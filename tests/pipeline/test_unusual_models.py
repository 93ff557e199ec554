"""Models as training leaves them: parametrized, traced, under autocast, with tensors kept from a call, of unequal orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import ssm2edge
from models.digits.model import S4D
from ssm2edge.layers import S5, find_layers
from ssm2edge.quantisation import weights_of
from ssm2edge.quantisation.grid import grid_of
from tests.slow_cases import slow


class Clamp(nn.Module):
    """Keeps a parameter above a half."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0.5)


class Net(nn.Module):
    """Two features in, one out, two layers between."""

    def __init__(self, *layers: nn.Module, width: int = 4) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, width), nn.Linear(width, 1)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        for layer in self.layers:
            z = z + torch.tanh(layer(z))
        y: Tensor = self.decoder(z)
        return y


@pytest.fixture
def samples() -> Tensor:
    return torch.randn(8, 20, 2, generator=torch.Generator().manual_seed(3))


def parametrized() -> Net:
    torch.manual_seed(0)
    net = Net(S5(4, 4), S5(4, 4))
    parametrizations.orthogonal(net.encoder)
    parametrizations.weight_norm(net.decoder)
    parametrize.register_parametrization(net.layers[0], "D", Clamp())
    return net


def spectrally_normalised() -> Net:
    torch.manual_seed(0)
    net = Net(S5(4, 4))
    nn.utils.spectral_norm(net.encoder)
    nn.utils.weight_norm(net.decoder)
    net(torch.zeros(1, 3, 2))
    return net


@pytest.mark.slow
@pytest.mark.parametrize("make", [parametrized, spectrally_normalised])
def test_parametrizations_are_read_as_their_values(make: Any, samples: Tensor, tmp_path: Path) -> None:
    net = make().eval()
    built = ssm2edge.build(net, samples, tmp_path / "out", keep=1.0, calibrate="none")
    with torch.no_grad():
        np.testing.assert_allclose(built.run(samples)["output"], net(samples).numpy(), rtol=1e-4, atol=1e-5)
    assert {layer.name for layer in built.manifest.layers} == {f"layers.{i}" for i in range(len(net.layers))}
    stored = built.manifest.parameters
    assert 0 < stored.ssm_after <= stored.ssm_before < stored.model_before
    # The user's model keeps its parametrizations, and so does its compressed form outside of the layers.
    small = ssm2edge.compress(net, samples, order=2, method="balanced")
    outside = {name for name, _ in net.named_parameters() if not name.startswith("layers.")}
    assert outside == {name for name, _ in small.named_parameters() if not name.startswith("layers.")}


@pytest.mark.slow
@pytest.mark.parametrize("normed", [parametrizations.weight_norm, nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize(("precision", "bits", "largest"), [("int8", 8, 0.02), ("int4", 4, 0.2)])
def test_parametrized_weights_are_rounded_as_their_values(
    normed: Any, precision: str, bits: int, largest: float, samples: Tensor
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), normed(nn.Linear(16, 16)), S5(16, 4), nn.Tanh())
    net(samples)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = ssm2edge.compress(net, samples, keep=1.0, precision=precision, calibrate="none")
    assert small.training
    assert small[1].training
    (weight,) = weights_of(small).values()
    assert weight.name == "1.weight"
    assert grid_of(weight.matrix().float().numpy(), bits) is not None
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    with torch.no_grad():
        found, original = small.eval()(samples), net.eval()(samples)
    assert (found - original).norm() <= largest * original.norm()


@pytest.mark.slow
def test_tensors_kept_from_a_call_do_not_matter(samples: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(S5(4, 4))
    net.kept = net.encoder.weight * 2  # type: ignore[assignment]  # an attribute of the test's
    kept = net.kept
    small = ssm2edge.compress(net, samples, order=2, method="balanced")
    assert net.kept is kept
    assert torch.equal(small.kept, kept)  # type: ignore[arg-type]  # the same attribute


@pytest.mark.slow
def test_layers_with_fewer_states_than_asked_for_keep_theirs(samples: Tensor) -> None:
    torch.manual_seed(0)
    small = ssm2edge.compress(Net(S5(4, 2), S5(4, 8)), samples, order=6, method="balanced")
    assert [block.order for block in ssm2edge.layers.blocks(small).values()] == [4, 6]


class Mixed(Net):
    """Runs under autocast, as a forward that is copied from a training loop does."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


class Halved(Net):
    """Casts in between."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).half().float()


class HalfHead(Net):
    """Casts for a part in another precision."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.layers[0](self.encoder(x)).half())
        return y.float()


class Answering(Net):
    """Answers with what a function makes of the layers' answer."""

    def __init__(self, answer: Any) -> None:
        super().__init__(S5(4, 4))
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(super().forward(x))


class LastValid(Net):
    """The last sample that a mask leaves, by an index that the exporter cannot follow."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().forward(x)[torch.arange(len(x)), mask.sum(1) - 1]


class Wrapped(nn.Module):
    """Published layers take channels first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.mT)[0].mT
        return y


def traced() -> nn.Module:
    return torch.jit.trace(Net(nn.Linear(4, 4)), torch.zeros(1, 8, 2), check_trace=False)  # type: ignore[no-any-return]  # torch's


@pytest.mark.parametrize(
    ("make", "length", "options", "sentence"),
    [
        (lambda: Mixed(S5(4, 4)), 20, {}, "bfloat16 under torch.autocast"),
        (lambda: Halved(S5(4, 4)), 20, {}, "computes in float16 at"),
        (lambda: HalfHead(S5(4, 4)), 20, {}, "take casts to another precision out of its forward"),
        (lambda: Answering(lambda y: torch.complex(y, y)), 20, {}, "a tensor of complex numbers"),
        (lambda: Answering(lambda y: y[:, :0]), 20, {}, "which holds nothing"),
        (traced, 20, {}, "is TorchScript"),
        (lambda: Net(nn.Sequential(S5(4, 4), torch.jit.script(nn.Tanh()))), 20, {}, "module layers.0.1 is"),
        (lambda: Net(Wrapped(S4D(4, 1))), 20, {}, "layers.0.layer .S4D. has no states"),
        (lambda: Net(S5(4, 4)), 1, {"calibrate": "match"}, "one time step cannot calibrate"),
    ],
)
def test_what_no_graph_can_hold_is_refused_in_one_sentence(
    make: Any, length: int, options: Any, sentence: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ssm2edge.UserError, match=sentence):
        ssm2edge.build(make(), torch.randn(40, length, 2), tmp_path / "out", order=2, **options)
    assert not (tmp_path / "out").exists()


def test_indices_by_a_mask_are_refused_in_one_sentence(samples: Tensor, tmp_path: Path) -> None:
    given = {"x": samples, "mask": torch.arange(20)[None] < torch.arange(4, 20, 2)[:, None]}
    with pytest.raises(ssm2edge.UserError, match="The model"):
        ssm2edge.build(LastValid(S5(4, 4)), given, tmp_path / "out", held_out=given, order=2, calibrate="none")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_answers_yes_or_no_are_built(samples: Tensor, tmp_path: Path) -> None:
    model = Answering(lambda y: y > 0).eval()
    built = ssm2edge.build(model, samples, tmp_path / "out", held_out=samples, keep=1.0, calibrate="none")
    np.testing.assert_array_equal(built.run(samples)["output"], model(samples).numpy())


@pytest.mark.parametrize("method", ["last", slow("aire"), "modal", slow("modal_singular_perturbation"), slow("gradient")])
@pytest.mark.parametrize("order", [3, 5])
def test_real_poles_before_pairs_and_orders_that_cut_a_pair_are_built(method: str, order: int) -> None:
    """The first frequency of S4D-Lin is zero, and stays so where A is not trained: a real pole in front of the pairs."""
    torch.manual_seed(0)
    layer = S4D(4, 6)
    layer.kernel.A_imag.data[:, 0] = 0.0
    (found,) = find_layers(layer)
    assert bool((found.system.poles.imag[:, -2:] == 0).all())
    small = ssm2edge.compress(layer, order=order, method=method).eval()
    (block,) = ssm2edge.layers.blocks(small).values()
    assert block.order == order
    # The published layer's own kernel is the oracle of what was read, the step-by-step recurrence that of the block.
    torch.testing.assert_close(
        impulses(found.system, 40)[:, 1:], layer.kernel(41)[:, 1:-1].detach().double(), atol=1e-5, rtol=1e-4
    )
    u = torch.randn(2, 4, 40)
    with torch.no_grad():
        expected = recurrence(block.system(), u.double())
        torch.testing.assert_close(block(u).double(), expected, atol=1e-4, rtol=1e-4)


def impulses(system: Any, length: int) -> Tensor:
    """Impulse response ``(channels, length)`` of a bank, term by term."""
    powers = system.poles[:, :, None] ** torch.arange(length - 1)
    response = (system.residues[:, :, None] * powers).sum(1).real
    return torch.cat((system.D[:, 0], response), dim=1)


def recurrence(system: Any, u: Tensor) -> Tensor:
    """Answers of a bank, sample by sample in complex128."""
    x = torch.zeros(u.shape[0], *system.poles.shape, dtype=torch.complex128)
    answers = []
    for k in range(u.shape[-1]):
        answers.append((system.C[:, 0] * x).sum(-1).real + system.D[:, 0, 0] * u[..., k])
        x = system.poles * x + system.B[..., 0] * u[..., k, None]
    return torch.stack(answers, dim=-1)
