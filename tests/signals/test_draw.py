"""Synthetic inputs have the shape, the scale and the ends that are known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ssm2edge.errors import UserError
from ssm2edge.signals.draw import Known, draw
from ssm2edge.signals.shape import Scale, Shape, scales_of, shapes_of
from ssm2edge.signals.symbols import symbols


def test_signals_have_the_mean_and_deviation_of_each_feature() -> None:
    scale = Scale(np.array([1.0, -2.0, 30.0]), np.array([1.0, 0.1, 5.0]))
    (signals,) = draw({"x": Known((100, 3), 1, scale=scale)}, 50, 0).values()
    assert (signals.shape, signals.dtype) == ((50, 100, 3), np.float64)
    np.testing.assert_allclose(signals.mean((0, 1)), scale.mean)
    np.testing.assert_allclose(signals.std((0, 1)), scale.deviation)


def test_a_time_axis_behind_the_features_holds_the_same_signals() -> None:
    scale = Scale(np.array([1.0, -2.0, 30.0]), np.array([1.0, 0.1, 5.0]))
    (first,) = draw({"x": Known((100, 3), 1, scale=scale)}, 8, 3).values()
    (last,) = draw({"x": Known((3, 100), 2, scale=scale)}, 8, 3).values()
    np.testing.assert_array_equal(last, first.swapaxes(1, 2))


def test_masks_and_lengths_end_sequences_together_with_zeros_behind() -> None:
    known = {
        "x": Known((40, 2), 1, scale=Scale(np.array(3.0), np.array(1.0))),
        "mask": Known((40,), 1, "mask"),
        "tokens": Known((40,), 1, "tokens", np.arange(5, 9)),
        "lengths": Known((), None, "lengths"),
    }
    found = draw(known, 200, 0)
    assert (found["mask"].dtype, found["lengths"].dtype, found["tokens"].dtype) == (np.bool_, np.int64, np.int64)
    for row, length in enumerate(found["lengths"]):
        assert found["mask"][row, :length].all()
        assert not found["mask"][row, length:].any()
        assert (found["x"][row, :length] != 0).any()
        assert not found["x"][row, length:].any()
        assert not found["tokens"][row, length:].any()
        assert np.isin(found["tokens"][row, :length], np.arange(5, 9)).all()
    assert 0.3 < (found["lengths"] == 40).mean() < 0.7
    assert found["lengths"].min() >= 5


def test_inputs_without_time_have_their_scale() -> None:
    (static,) = draw({"x": Known((4,), None, scale=Scale(np.array(10.0), np.array(2.0)))}, 1000, 0).values()
    assert static.shape == (1000, 4)
    np.testing.assert_allclose((static.mean(), static.std()), (10, 2), rtol=0.05)


def test_every_symbol_comes_and_pairs_come_again() -> None:
    generator = np.random.default_rng(0)
    drawn = symbols(generator, 200, 256, np.arange(64))
    assert set(np.unique(drawn)) == set(range(64))

    def pairs(sequence: Any) -> int:
        return len(set(zip(sequence[:-1].tolist(), sequence[1:].tolist(), strict=True)))

    even = generator.integers(0, 64, (200, 256))
    assert np.mean([pairs(row) for row in drawn]) < 0.7 * np.mean([pairs(row) for row in even])


def test_draws_are_the_same_from_the_same_seed_alone() -> None:
    known = {"x": Known((30, 2), 1), "t": Known((30,), 1, "tokens", np.arange(7))}
    first, again, other = draw(known, 9, 4), draw(known, 9, 4), draw(known, 9, 5)
    for name in known:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        ("784,1", {"": Shape((784, 1))}),
        ((784, 1), {"": Shape((784, 1))}),
        (12, {"": Shape((12,))}),
        ("1024:tokens", {"": Shape((1024,), "tokens")}),
        ({"x": "8,2", "m": "8:mask", "n": ":lengths"}, {"x": Shape((8, 2)), "m": Shape((8,), "mask"), "n": Shape((), "lengths")}),
        ("1024:tokens256", {"": Shape((1024,), "tokens", 256)}),
    ],
)
def test_shapes_are_read_and_written_alike(given: Any, shapes: dict[str, Shape]) -> None:
    assert shapes_of(given) == shapes
    assert shapes_of({name: str(shape) for name, shape in shapes.items()}) == shapes


@pytest.mark.parametrize(
    "given", ["x", "1.5", "3,", "0,1", "4:words", "4:mask3", "99999,99999", 1.5, None, [1, "2"], "4:tokens1"]
)
def test_what_is_no_shape_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match=r"is no shape|out of range"):
        shapes_of(given)


@pytest.mark.parametrize("given", [(0, 0), (0, -1), (np.nan, 1), 3, (1, 2, 3), ("a", 1), ([1, 2], [[1], [2]])])
def test_what_is_no_scale_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="no mean and deviation"):
        scales_of(given)
