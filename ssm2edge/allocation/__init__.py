"""The choice of orders for a whole network: what each layer's error costs at the output, and how small a model may become."""

from __future__ import annotations

from ssm2edge.allocation.budget import all_states, smallest_budget
from ssm2edge.allocation.choice import Choice
from ssm2edge.allocation.rules import RULES
from ssm2edge.allocation.study import DIRECT, Study, study

__all__ = ["DIRECT", "RULES", "Choice", "Study", "all_states", "smallest_budget", "study"]
