"""S5 layers of the PyPI package s5-pytorch: what is read and what replaces them is what the package computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from s5 import S5, S5Block
from s5.s5_model import S5SSM, discretize_bilinear
from torch import Tensor, nn

from ssm2edge.layers import LayerError, exportable, find_layers
from ssm2edge.systems.response import simulate
from tests.layer_answers import answers, full_order, noise, relative

WIDTH, STATES = 6, 8


def layer(seed: int = 0, bilinear: bool = False, width: int = WIDTH, **options: Any) -> S5:
    """An S5 with values of no particular symmetry, as training leaves them."""
    torch.manual_seed(seed)
    made = S5(width, STATES, **options).eval()
    with torch.no_grad():
        made.seq.Lambda.add_(0.3 * torch.randn(STATES, dtype=torch.complex64)).real.clamp_(max=-0.05)
        made.seq.log_step.add_(1.0)
    if bilinear:
        made.seq.discretize = discretize_bilinear
    return made


def factorised(rank: int = 3) -> S5:
    """No released version can make it (its constructor fails), but its forward knows these parameters."""
    made = layer()
    ssm = made.seq
    del ssm.B, ssm.C
    for name, shape in {"BH": (WIDTH, rank), "BP": (STATES, rank), "CH": (rank, WIDTH), "CP": (rank, STATES)}.items():
        ssm.register_parameter(name, nn.Parameter(torch.randn(shape, dtype=torch.complex64)))
    ssm.bcInit = "factorized"
    return made


class Ready(nn.Module):
    """Calls an ``S5SSM`` as its users do, one sequence at a time."""

    def __init__(self, ssm: S5SSM) -> None:
        super().__init__()
        self.ssm = ssm

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = torch.vmap(self.ssm)(u)
        return y


class Calls(nn.Module):
    """Calls an S5 with other arguments."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.s5 = layer()
        self.arguments = arguments

    def forward(self, u: Tensor) -> Any:
        return self.s5(u, **self.arguments)


class Forgetful(S5SSM):
    """As release 0.2.0 computes: the poles of all samples but the first are zero."""

    def forward(self, signal: Tensor, step_scale: float | Tensor = 1.0, state: None = None, return_state: bool = False) -> Any:
        B, C = self.get_BC_tilde()
        _, B = self.discretize(self.Lambda, B, step_scale * torch.exp(self.log_step))
        return (signal.to(B.dtype) @ B.mT @ C.mT).real + self.D * signal


MODELS = {
    "zoh": layer(),
    "bilinear": layer(1, bilinear=True),
    "complex_normal": layer(2, bcInit="complex_normal"),
    "blocks": layer(3, block_count=2),
    "degree": layer(4, width=STATES, degree=2),
    "factorised": factorised(),
    "bidirectional": layer(5, bidir=True),
    "bidirectional bilinear": layer(6, bilinear=True, bidir=True),
    "untrained": S5(WIDTH, STATES).eval(),
    "in a block": S5Block(WIDTH, STATES, False).eval(),
    "in a bidirectional block without a gate": S5Block(WIDTH, STATES, True, glu=False, ff_mult=2.0).eval(),
    "blocks in a model": nn.Sequential(nn.Linear(WIDTH, WIDTH), S5Block(WIDTH, STATES, False), S5Block(WIDTH, 4, False)).eval(),
    "sequence by sequence": Ready(layer(7, bilinear=True).seq),
}


@pytest.mark.parametrize("name", MODELS)
def test_full_order_replacement_is_the_layer(name: str) -> None:
    model = MODELS[name]
    replaced = full_order(model)
    assert not any(isinstance(module, S5 | S5SSM) for module in replaced.modules())
    for length in (1, 2, 200):
        u = noise(2, length, STATES if name == "degree" else WIDTH)
        expected = answers(model, u)
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("name", ["zoh", "bilinear", "complex_normal", "factorised"])
def test_the_system_read_is_the_layer(name: str) -> None:
    model = MODELS[name]
    (found,) = find_layers(model)
    u = noise(2, 300, WIDTH)
    simulated = simulate(found.system, u.double().mT)[0].mT
    assert relative(simulated, answers(model, u)) < 1e-6
    assert (found.library, found.kind, found.system.order) == ("s5-pytorch", "MIMO", 2 * STATES)


def test_slow_modes_keep_the_gains_that_float32_gives_them() -> None:
    model = layer()
    with torch.no_grad():
        model.seq.Lambda[0] = -1e-4
        model.seq.log_step[0] = math.log(0.01)
        model.seq.B[0].mul_(100.0)
    u = noise(1, 500, WIDTH)
    assert relative(answers(full_order(model), u), answers(model, u)) < 1e-5


def test_directions_are_systems_of_their_own_and_share_their_parameters() -> None:
    causal, anticausal = find_layers(nn.Sequential(layer(5, bidir=True)))
    assert [causal.name, anticausal.name] == ["0.causal", "0.anticausal"]
    assert {causal.kind, anticausal.kind} == {"bidirectional MIMO"}
    stored = 2 * STATES + 2 * STATES * WIDTH + 2 * WIDTH * 2 * STATES + WIDTH + STATES
    assert causal.parameters + anticausal.parameters == stored


def test_only_the_linear_layer_of_a_block_is_exchanged() -> None:
    block = S5Block(WIDTH, STATES, False, attn_dropout=0.1).train()
    replaced = full_order(block)
    before, after = block.state_dict(), replaced.state_dict()
    kept = [name for name in before if not name.startswith("s5.")]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert [name for name, module in replaced.named_modules() if type(module) is nn.Dropout] == ["attn_dropout", "ff_dropout"]
    assert all(module.training for module in replaced.modules())


def test_liquid_layers_are_refused_by_name() -> None:
    with pytest.raises(LayerError, match=r"Layer 1 \(liquid S5\): its poles move with its input.*liquid=False"):
        find_layers(nn.Sequential(nn.Identity(), layer(liquid=True)))


@pytest.mark.parametrize("step_scale", [0.5, torch.full((2,), 1.0), torch.ones(2, 20)], ids=["constant", "tensor", "timesteps"])
def test_other_step_sizes_are_refused_by_name_when_they_are_asked_for(step_scale: Any) -> None:
    replaced = full_order(Calls(step_scale=step_scale))
    with pytest.raises(LayerError, match=r"step_scale.*log_step.*time-varying"):
        replaced(noise(2, 20, WIDTH))


def test_the_default_arguments_are_taken_and_states_are_refused_by_name() -> None:
    u = noise(2, 20, WIDTH)
    model = Calls(step_scale=1.0, state=None, return_state=False)
    assert relative(answers(full_order(model), u), answers(model, u)) < 1e-5
    with pytest.raises(LayerError, match="called with return_state=True"):
        full_order(Calls(return_state=True))(u)
    with pytest.raises(LayerError, match="called with state"):
        full_order(Calls(state=torch.zeros(2, STATES)))(u)


def test_scaled_steps_are_the_mend_that_the_refusal_names() -> None:
    model, u = layer(), noise(2, 50, WIDTH)
    with torch.no_grad():
        expected = model(u, step_scale=0.5)
        model.seq.log_step.add_(math.log(0.5))
    assert relative(answers(full_order(model), u), expected) < 1e-5


def test_forwards_without_memory_are_refused() -> None:
    model = layer()
    model.seq.__class__ = Forgetful
    with pytest.raises(LayerError, match=r"Layer 0 \(s5-pytorch\) .*computes something else"):
        full_order(nn.Sequential(model))


def test_broken_layers_are_refused_by_name() -> None:
    unknown, broken, unstable, shape = (layer() for _ in range(4))
    unknown.seq.discretize = torch.nn.functional.softplus
    with torch.no_grad():
        broken.seq.B[0, 0, 0] = math.nan
        unstable.seq.Lambda[0] = 0.5 + 1j
    shape.seq.C = nn.Parameter(torch.zeros(WIDTH, 3, dtype=torch.complex64))
    for model, words in (
        (unknown, "neither zoh nor bilinear"),
        (broken, "parameter B holds NaN"),
        (unstable, "not stable"),
        (shape, "not the shapes"),
    ):
        with pytest.raises(LayerError, match=words):
            find_layers(nn.Sequential(model))
