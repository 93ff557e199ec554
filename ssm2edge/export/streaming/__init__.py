"""Streaming as a property of the whole model: a pass over the exported program.

:func:`to_streaming` follows the time axis by its symbol and returns a module that computes one block of samples from the states
before it, and the states after it.  A new way of meeting time is one rule in a file of its own and one line in ``RULES``.
"""

from __future__ import annotations

from ssm2edge.export.streaming.contract import Rule, StateSpec
from ssm2edge.export.streaming.lti_block import LtiBlockRule
from ssm2edge.export.streaming.module import StreamingModule, to_streaming
from ssm2edge.export.streaming.pointwise import PointwiseRule
from ssm2edge.export.streaming.pooling import RunningMeanRule

RULES: tuple[Rule, ...] = (PointwiseRule(), LtiBlockRule(), RunningMeanRule())

__all__ = ["RULES", "Rule", "StateSpec", "StreamingModule", "to_streaming"]
