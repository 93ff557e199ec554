"""The choice of orders for a whole network: what each layer's error costs at the output, and how small a model may become."""

from __future__ import annotations

from ssm2edge.allocation.budget import all_states, smallest_budget
from ssm2edge.allocation.rules import DEFAULT_RULE, RULES, orders_by_rule
from ssm2edge.allocation.study import Study

__all__ = ["DEFAULT_RULE", "RULES", "Study", "all_states", "orders_by_rule", "smallest_budget"]
