"""LRUs, linear and with quadratic outputs: what is read and what replaces them is what they compute."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.sysid.model import LRU, scan
from ssm2edge.layers import LayerError, ReducedMimo, blocks, dynamics, exportable, find_layers
from ssm2edge.layers.mimo_operators import mimo_block
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.response import simulate
from ssm2edge.systems.system import System
from tests.layer_answers import answers, full_order, noise, relative
from tests.random_banks import random_bank


class SplitLRU(nn.Module):
    """The linear unit in another spelling: real and imaginary parts as parameters of their own, dense D, pairs returned."""

    def __init__(self) -> None:
        super().__init__()
        unit = LRU(4, 6, 0)
        self.nu_log, self.theta_log, self.gamma_log = unit.nu_log, unit.theta_log, unit.gamma_log
        self.B_re, self.B_im = nn.Parameter(unit.B.detach().real.clone()), nn.Parameter(unit.B.detach().imag.clone())
        self.C_re, self.C_im = nn.Parameter(unit.C.detach().real.clone()), nn.Parameter(unit.C.detach().imag.clone())
        self.D = nn.Parameter(torch.randn(4, 4))

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        poles = torch.exp(torch.complex(-self.nu_log.exp(), self.theta_log.exp()))
        B, C = torch.complex(self.B_re, self.B_im), torch.complex(self.C_re, self.C_im)
        x = scan(poles, (u.to(B.dtype) @ B.T) * self.gamma_log.exp())
        return (x @ C.T).real + u @ self.D.T, None


class LateSquares(LRU):
    """Squares the state after the sample."""

    def forward(self, u: Tensor) -> Tensor:
        return super().forward(u.roll(-1, 1)).roll(1, 1)


def unit(rank: int, states: int = 8, seed: int = 0) -> LRU:
    torch.manual_seed(seed)
    layer = LRU(4, states, rank).eval()
    with torch.no_grad():
        layer.W.mul_(10.0)
        # A phase beyond half a turn: the stored pole is the lower one of its pair.
        layer.theta_log[0] = math.log(5.0)
    return layer


@pytest.mark.parametrize("layer", [unit(0), unit(1), unit(3), unit(20), SplitLRU().eval()], ids=str)
def test_system_block_and_exported_form_are_the_layer(layer: nn.Module) -> None:
    (found,) = find_layers(layer)
    replaced = full_order(layer)
    for length in (1, 2, 70):
        u = noise(2, length, 4)
        expected = answers(layer, u)
        simulated = simulate(found.system, u.double().mT)[0].mT
        assert relative(simulated, expected) < 1e-5
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


def test_layers_are_told_by_kind_order_and_parameters() -> None:
    (linear,), (quadratic,) = find_layers(unit(0)), find_layers(nn.Sequential(unit(3)))
    assert (linear.kind, quadratic.kind) == ("MIMO", "MIMO with quadratic outputs")
    assert linear.system.M is None
    assert quadratic.system.order == 8
    assert quadratic.parameters == 3 * 4 + 2 * (4 * 4) * 2 + 4 + 3 * 8 + 4 * 3
    assert list(blocks(full_order(nn.Sequential(unit(3))))) == ["0"]


@pytest.mark.parametrize("rank", [0, 3])
def test_block_has_the_parameters_it_promises_and_gives_its_system_back(rank: int) -> None:
    (found,) = find_layers(unit(rank))
    block = ReducedMimo(found.system)
    n, m, p = 8, 4, 4
    assert sum(x.numel() for x in block.parameters()) == n + n * m + p * n + p + rank * (n + p)
    full = ReducedMimo(found.system.paper_form())
    assert sum(x.numel() for x in full.parameters()) == n + n * m + p * n + p * m + rank * (n + p)
    assert float(h2_error(found.system, block.system())) < 1e-5 * float(h2_norm(found.system))


def test_blocks_with_carried_states_are_the_whole_sequence() -> None:
    block = ReducedMimo(find_layers(unit(3))[0].system).exported()
    u, state, parts = noise(2, 12, 4), torch.zeros(2, 8), []
    constants = (block.a, block.b, block.input, block.output, block.feedthrough, block.factors, block.mixing)
    for start in range(0, 12, 4):
        y, state = mimo_block(u[:, start : start + 4], state, *constants)
        parts.append(y)
    assert relative(torch.cat(parts, 1), answers(block, u)) < 1e-6


def test_gradients_are_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the rounding of the poles to float32 the block is smooth; everything then runs in float64.
    monkeypatch.setattr(dynamics, "_rounded", lambda values: values)
    block = ReducedMimo(find_layers(unit(2, states=4))[0].system)
    u = noise(2, 9, 4).double()
    names = [name for name, _ in block.named_parameters()]
    assert {"dynamics", "factors", "mixing"} <= set(names)
    values = tuple(p.detach().double().requires_grad_() for p in block.parameters())

    def outputs(*parameters: Tensor) -> Tensor:
        return functional_call(block, dict(zip(names, parameters, strict=True)), (u,))

    assert torch.autograd.gradcheck(outputs, values)


@pytest.mark.parametrize("extreme", [-80.0, 6.0, 88.0, 720.0])
def test_no_training_makes_it_unstable(extreme: float) -> None:
    block = ReducedMimo(find_layers(unit(2))[0].system)
    with torch.no_grad():
        block.dynamics.fill_(extreme)
    assert float(block.system().poles.abs().max()) < 1
    y = block(noise(1, 50, 4))
    assert bool(torch.isfinite(y).all())
    torch.autograd.backward(y.square().sum())
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in block.parameters())


def test_odd_orders_and_real_poles_are_held() -> None:
    bank = random_bank(1, 5, seed=3)
    system = System(bank.poles[0], bank.B[0], bank.C[0], bank.D[0])
    u = noise(2, 40, 1)
    expected = simulate(system, u.double().mT)[0].mT
    assert relative(answers(ReducedMimo(system), u), expected) < 1e-5


def test_lookalikes_and_broken_layers_are_refused_by_name() -> None:
    late = LateSquares(4, 8, 3)
    late.load_state_dict(unit(3).state_dict())
    with pytest.raises(LayerError, match=r"Layer 1 .*computes something else"):
        full_order(nn.Sequential(nn.Identity(), late))
    broken = unit(3)
    with torch.no_grad():
        broken.V[0, 0] = math.nan
    with pytest.raises(LayerError, match="parameter V holds NaN"):
        find_layers(broken)
    unstable = unit(0)
    with torch.no_grad():
        unstable.nu_log[1] = -200.0
    with pytest.raises(LayerError, match="not stable: it has a pole of modulus 1"):
        find_layers(unstable)
    with pytest.raises(ValueError, match="one system, not a batch"):
        ReducedMimo(random_bank(2, 4, seed=0))
