"""Of inputs without samples, shapes, embeddings and normalisations say enough to draw some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.loading import Arguments, Samples, held_out, known_of_shapes, open_source, source_in_memory, with_calibration
from ssm2edge.signals.shape import scales_of, shapes_of


class Normalised(nn.Module):
    """Normalises its input by stored statistics, channels in front of time."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        self.norm.running_mean.copy_(torch.tensor([1.0, -2.0, 5.0]))
        self.norm.running_var.copy_(torch.tensor([4.0, 0.25, 1.0]))

    def forward(self, u: Tensor) -> Tensor:
        return self.norm(u.transpose(1, 2))


class Reader(nn.Module):
    """Reads symbols with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.other = nn.Embedding(11, 4), nn.Embedding(3, 4)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        return self.table(text) * mask[..., None] + self.other(torch.zeros_like(text))


def known(model: nn.Module, shape: Any, scale: Any = None, **described: Any) -> Any:
    source = source_in_memory(model, shapes=shapes_of(shape), scales=scales_of(scale), **described)
    return known_of_shapes(source, model.eval())


def test_stored_statistics_of_an_input_are_its_scale_unless_the_user_gives_one() -> None:
    (signals,) = held_out(known(Normalised(), "40,3")).values()
    np.testing.assert_allclose(signals.mean((0, 1)), [1, -2, 5], atol=1e-4)
    np.testing.assert_allclose(signals.std((0, 1)), [2, 0.5, 1], atol=1e-4)
    (signals,) = held_out(known(Normalised(), "40,3", (7.0, 0.5))).values()
    np.testing.assert_allclose((signals.mean(), signals.std()), (7, 0.5))


def test_without_statistics_signals_have_mean_0_and_deviation_1() -> None:
    (signals,) = held_out(known(nn.Linear(3, 4), "40,3")).values()
    np.testing.assert_allclose((signals.mean(), signals.std()), (0, 1), atol=1e-12)


def test_symbols_are_those_of_the_embedding_that_reads_the_input() -> None:
    found = held_out(known(Reader(), {"text": "30:tokens", "mask": "30:mask"}))
    assert set(np.unique(found["text"])) == set(range(11))
    assert found["mask"].dtype == np.bool_
    found = held_out(known(Reader(), {"text": "30:tokens5", "mask": "30:mask"}))
    assert set(np.unique(found["text"])) == set(range(5))


@pytest.mark.parametrize(
    ("model", "shape", "scale", "said"),
    [
        (Reader(), "30:tokens", None, "the model takes text, mask"),
        (Reader(), {"text": "30:tokens", "mask": "20:mask"}, None, "2 lengths"),
        (Reader(), {"text": "30:tokens", "words": "30:mask"}, None, "the model takes text, mask"),
        (nn.Linear(3, 4), "40:tokens", None, "vocabulary of input is not known"),
        (nn.Linear(3, 4), "40,3", ([0, 0], [1, 1]), "2 means or deviations of input, which has 3 features"),
        (nn.Linear(3, 4), "40,3", {"pixels": (0, 1)}, "no input has this name"),
        (nn.Linear(3, 4), ":lengths", None, "0 lengths"),
    ],
)
def test_what_shapes_leave_open_is_named(model: nn.Module, shape: Any, scale: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        known(model, shape, scale)


def test_synthetic_sequences_stand_beside_calibration_samples_at_their_scale() -> None:
    generator = np.random.default_rng(0)
    real = (3 + 0.5 * generator.standard_normal((4, 50, 2))).astype(np.float32)
    samples = Samples({"u": real}, {"u": 100 * real}, {}, Arguments(("u",), ("u",)), {"u": 1})
    both = with_calibration(samples, 0)
    drawn = both.calibration["u"]
    np.testing.assert_array_equal(drawn[:4], real)
    assert both.synthetic == len(drawn) - 4 > 100
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn[4:].mean((0, 1)), real.mean((0, 1)), rtol=1e-3)
    np.testing.assert_allclose(drawn[4:].std((0, 1)), real.std((0, 1)), rtol=1e-3)
    alone = with_calibration(Samples({}, samples.held_out, {}, samples.arguments, samples.axes), 0)
    assert len(alone.calibration["u"]) == alone.synthetic
    np.testing.assert_allclose(alone.calibration["u"].mean((0, 1)), 100 * real.mean((0, 1)), rtol=1e-3)


def test_a_shape_stands_in_place_of_a_samples_file(tmp_path: Path) -> None:
    (tmp_path / "build.toml").write_text('[model]\nfactory = "m.py:f"\n[samples]\nshape = "9,2"\nscale = [[1, 2], [3, 4]]\n')
    source = open_source(str(tmp_path))
    assert source.samples is None
    assert source.known == {"shape": "9,2", "scale": [[1, 2], [3, 4]]}
    assert open_source(str(tmp_path), shape={"u": "8,2"}, scale={"u": (0, 1)}).known["shape"] == {"u": "8,2"}
    assert open_source(str(tmp_path), samples=tmp_path / "s.npz").shapes == {}
    with pytest.raises(UserError, match="one of them"):
        open_source(str(tmp_path), samples=tmp_path / "s.npz", shape="9,2")
    (tmp_path / "build.toml").write_text('[model]\nfactory = "m.py:f"\n[samples]\nshape = "9,2"\nfile = "s.npz"\n')
    with pytest.raises(UserError, match="leave one of them out"):
        open_source(str(tmp_path))
