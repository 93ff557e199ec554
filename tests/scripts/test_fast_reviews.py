"""Fast answers to reviews are those of the model's own forward: padded or not, of both directions, unreduced and reduced."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from models.imdb.model import make as s4d
from models.imdb_quadratic.model import make as quadratic
from models.imdb_s5.model import make as s5
from scripts.fast_reviews import FastClassifier, check_alike
from ssm2edge.layers import find_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers

MAKES = {"S4D": s4d, "S5": s5, "quadratic": partial(quadratic, rank=3)}
REVIEWS = [b"ab" * 20, b"c" * 64, bytes(range(1, 101)), b"z"]


def network(order: int | None, kind: str = "S4D") -> nn.Module:
    torch.manual_seed(2)
    model = MAKES[kind](channels=6, states=8, layers=2).eval()
    with torch.no_grad():
        # Reductions of random layers barely change the answers of a small head.
        model.decoder.weight.mul_(20)
    if order is None:
        return model
    systems = {layer.name: layer.system for layer in find_layers(model)}
    reductions = reduce_layers(systems, dict.fromkeys(systems, order), "balanced", 128)
    return replace_layers(model, {name: reduction.system for name, reduction in reductions.items()}).eval()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    text, mask = torch.zeros(len(REVIEWS), 128, dtype=torch.int64), torch.zeros(len(REVIEWS), 128)
    for row, review in enumerate(REVIEWS):
        text[row, : len(review)] = torch.tensor(list(review))
        mask[row, : len(review)] = 1
    return text, mask


@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("order", [None, 3])
def test_answers_are_the_models_own(order: int | None, kind: str) -> None:
    with torch.no_grad():
        model, (text, mask) = network(order, kind), batch()
        fast = FastClassifier(model)
        torch.testing.assert_close(fast(text, mask), model(text, mask), atol=2e-5, rtol=1e-5)
        # Kernels are made for each length, and known ones are not taken for another.
        torch.testing.assert_close(fast(text[:, :64], mask[:, :64]), model(text[:, :64], mask[:, :64]), atol=2e-5, rtol=1e-5)
        assert (network(None, kind)(text, mask) - network(3, kind)(text, mask)).abs().max() > 1e-2


def test_answers_of_another_model_are_refused() -> None:
    with pytest.raises(SystemExit, match="differ from the model's"):
        check_alike(FastClassifier(network(2)), network(None), REVIEWS)
