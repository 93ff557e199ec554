"""Labels of lines in pictures keep their distance."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scripts.table_picture import LINE, spread


@pytest.mark.parametrize("wanted", [[300.0] * 9, [549.0, 550.0, 551.0, 552.0], [90.0, 91.0, 300.0, 301.0, 540.0]])
def test_labels_keep_their_distance(wanted: list[float]) -> None:
    placed = spread(wanted, 93, 547)
    assert all(later - earlier >= LINE - 1e-3 for earlier, later in pairwise(placed))
    assert min(placed) >= 93
    assert max(placed) <= 547
