"""A layer of few states and wide features never stores more numbers than before, whatever its order."""

from __future__ import annotations

import LRU_pytorch
import pytest
import s5
import torch
from torch import Tensor, nn

from models.activity.model import LRU
from ssm2edge.layers import S5, block_of, find_layers
from ssm2edge.reduction import reduce_system

WIDTH, MODES = 64, 8


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "s5-pytorch": s5.S5(WIDTH, state_width=MODES),
        "S5 of the JAX code": S5(WIDTH, MODES),
        "S5 of the JAX code, all modes stored": S5(WIDTH, MODES, conj_sym=False),
        "LRU": LRU(WIDTH, 2 * MODES),
        "lru-pytorch, with a full D": LRU_pytorch.LRU(WIDTH, WIDTH, MODES),
    }


@pytest.mark.parametrize("name", layers())
def test_no_order_takes_more_numbers_than_the_layer(name: str) -> None:
    (found,) = find_layers(layers()[name].eval())
    full = "full D" in name
    assert found.system.order == 2 * MODES
    assert found.system.after_sample != full
    for order in range(1, found.system.order + 1):
        system = reduce_system(found.system[None], order, "balanced", 32).system[0]
        stored = sum(parameter.numel() for parameter in block_of(system).parameters())
        assert stored <= found.parameters
        assert stored == order * (1 + 2 * WIDTH) + (WIDTH**2 if full else WIDTH)


def test_nothing_is_stored_where_the_layer_has_no_feedthrough() -> None:
    class Plain(LRU):
        def __init__(self) -> None:
            super().__init__(WIDTH, 2 * MODES)
            del self.D

        def forward(self, u: Tensor) -> Tensor:
            self.D = torch.zeros(())
            y = super().forward(u)
            del self.D
            return y

    torch.manual_seed(0)
    (found,) = find_layers(Plain().eval())
    block = block_of(found.system)
    assert sum(parameter.numel() for parameter in block.parameters()) == found.parameters - MODES == 2 * MODES * (1 + 2 * WIDTH)
