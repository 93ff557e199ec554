"""Known layers that are not linear and time-invariant, or that no library reads: named with the reason, and left as they are.

A new one is a :class:`~ssm2edge.layers.contract.Refusal` and one line in ``REFUSALS``; refusals come before libraries.
"""

from __future__ import annotations

from ssm2edge.layers.contract import Refusal
from ssm2edge.layers.liquid import LiquidS4
from ssm2edge.layers.s5_pytorch import LiquidS5
from ssm2edge.layers.selective import SELECTIVE
from ssm2edge.layers.unread import UNREAD

REFUSALS: tuple[Refusal, ...] = (LiquidS5(), LiquidS4(), *SELECTIVE, *UNREAD)
