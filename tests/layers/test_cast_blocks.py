"""A model with blocks is cast as any module is: parameters and answers have the new precision, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import DigitClassifier
from ssm2edge.layers import blocks
from tests.layer_answers import full_order, relative
from tests.layers.test_every_library_keeps import LAYERS, around

PRECISION = {torch.float64: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in another precision, checked to hold no other."""
    model = copy.deepcopy(model).to(dtype)
    assert {x.dtype for x in model.state_dict().values() if x.is_floating_point()} == {dtype}
    return model


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", LAYERS)
def test_cast_models_compute_in_the_precision_they_have(name: str, dtype: torch.dtype) -> None:
    model, u = around(name)
    replaced = cast(full_order(model), dtype)
    with torch.no_grad():
        actual: Tensor = replaced(u.to(dtype))
        expected: Tensor = cast(replaced, torch.float64)(u.to(dtype).double())
    assert actual.dtype == dtype
    assert relative(actual.double(), expected) < PRECISION[dtype]
    if dtype == torch.float64:
        with torch.no_grad():
            assert relative(actual, model(u).double()) < 1e-4


@pytest.mark.parametrize("dtype", PRECISION)
def test_cast_models_are_trained(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    replaced = cast(full_order(DigitClassifier(4, 6, 2, classes=3)), dtype)
    torch.autograd.backward(replaced(torch.randn(2, 20, 1, dtype=dtype)).square().sum())
    gradients = [p.grad for block in blocks(replaced).values() for p in block.parameters()]
    assert all(g is not None and g.dtype == dtype and bool(g.isfinite().all()) and bool(g.any()) for g in gradients)
