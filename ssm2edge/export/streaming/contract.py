"""The contract of streaming rules.

The pass walks an exported program node by node.  A node that touches time is handed to the first rule that accepts it; the rule
computes the node's value for one block of samples, and owns a state if it must remember the past.  Nodes without time are
computed as they are.  A node no rule accepts is refused by name.

A value need not be known exactly up to its block's end: padded on the left by two samples it is known two samples further, and a
convolution over three samples falls two behind again.  The pass keeps that number, ``ahead``, for every value.  After n samples
of the model's input, the first ``rate x n + ahead`` samples of a value are known, and its block holds the newly known ones.  So
padding on the left, or cutting off the end, costs nothing and delays nothing; only where two values are ahead by different
numbers, or where a sample must be known by its number, is the one that is further held back.
"""

from __future__ import annotations

from typing import Protocol

from torch import fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk


class Rule(Protocol):
    """One way in which operations meet time.

    Requires
        ``node`` is a call of an aten operator or one of ours, and an argument or its value has the time axis.
    Ensures
        Blocks computed in order, each with the state the one before left, concatenate to the node's value on the whole
        sequence, from its sample ``ahead`` on; for a node that removes time, the value after each block is the node's value on
        all samples so far.
    """

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Return how to compute the node, or None if the rule does not cover it."""
