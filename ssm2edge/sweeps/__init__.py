"""Many builds at once, on one machine or a cluster, each a cell with an artifact of its own."""

from __future__ import annotations

from ssm2edge.sweeps.door import sweep

__all__ = ["sweep"]
