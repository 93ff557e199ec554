"""Retraining of the models of film reviews: what its loss counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.imdb.model import make
from scripts.retrain_imdb import loss
from scripts.train_imdb import cut_at, faded, polarity_error, tensors

REVIEWS = [b"a good film", b"not one of the best", b"dull"]
LABELS = torch.tensor([1, 0, 0])


class Shifted(nn.Module):
    """A model whose features are another's, changed."""

    def __init__(self, original: nn.Module, scale: float) -> None:
        super().__init__()
        self.original, self.scale = original, scale
        self.decoder = original.decoder

    def features(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return the features, scaled about the mean of each over all that is no padding."""
        features, kept = self.original.features(text, mask), mask.unsqueeze(-1)
        mean = (features * kept).sum((0, 1)) / kept.sum()
        # What is in the padding must not count.
        return (mean + self.scale * (features - mean)) * kept + 1e3 * (1 - kept)


@pytest.fixture
def original() -> nn.Module:
    torch.manual_seed(0)
    return make(channels=8, states=4, layers=2).eval()


def test_without_weight_it_is_the_cross_entropy_of_the_answers(original: nn.Module) -> None:
    batch = tensors(REVIEWS, "cpu")
    expected = nn.functional.cross_entropy(original(*batch), LABELS, label_smoothing=0.05)
    torch.testing.assert_close(loss(original, original, batch, LABELS, 0.0), expected)
    torch.testing.assert_close(loss(original, original, batch, LABELS, 3.0), expected)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_features_count_by_their_error_relative_to_how_they_vary(original: nn.Module, scale: float) -> None:
    """Those that stay at their means have an error of one."""
    batch, changed = tensors(REVIEWS, "cpu"), Shifted(original, scale)
    with torch.no_grad():
        added = loss(changed, original, batch, LABELS, 2.0) - loss(changed, original, batch, LABELS, 0.0)
    torch.testing.assert_close(added, torch.tensor(2.0 * (scale - 1) ** 2), rtol=1e-4, atol=1e-5)


def test_the_original_is_no_variable_of_it(original: nn.Module) -> None:
    torch.manual_seed(1)
    network = make(channels=8, states=4, layers=1).eval()
    loss(network, original, tensors(REVIEWS, "cpu"), LABELS, 1.0).backward()
    assert all(value.grad is None for value in original.parameters())
    assert all(value.grad is not None for name, value in network.named_parameters() if name.startswith("layers"))


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_another_function_of_the_features_is_added(original: nn.Module, weight: float) -> None:
    batch, changed = tensors(REVIEWS, "cpu"), Shifted(original, 0.5)
    with torch.no_grad():
        added = loss(changed, original, batch, LABELS, weight, lambda features: features.square().sum())
        added = added - loss(changed, original, batch, LABELS, weight)
        torch.testing.assert_close(added, changed.features(*batch).square().sum(), rtol=1e-4, atol=1e-5)


def test_polarities_are_compared_where_a_review_is() -> None:
    _, mask = tensors(REVIEWS, "cpu")
    targets = [np.linspace(-1, 1, len(review)).astype(np.float16) for review in REVIEWS]
    found = torch.full(mask.shape, 1e3)
    for row, values in enumerate(targets):
        found[row, : len(values)] = torch.from_numpy(values).float()
    assert polarity_error(found, mask, targets) == 0
    torch.testing.assert_close(polarity_error(found + 0.5, mask, targets), torch.tensor(0.25))


def test_targets_fade_out_and_cuts_grow() -> None:
    weights, cuts = ([of(step, 1000) for step in range(0, 1000, 50)] for of in (faded, cut_at))
    assert (weights[0], weights[-1]) == (1, 0.05)
    assert weights == sorted(weights, reverse=True)
    assert (cuts[0], cuts[-1]) == (512, 2048)
    assert cuts == sorted(cuts)
