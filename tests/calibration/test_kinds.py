"""Every kind of block that a layer can get is calibrated."""

from __future__ import annotations

from ssm2edge.calibration.kinds import KINDS
from ssm2edge.layers import BLOCKS


def test_every_kind_of_block_has_its_calibration() -> None:
    assert set(KINDS) == set(BLOCKS)
