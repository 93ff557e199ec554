"""Orders of the layers: from the user's request to an order for each layer."""

from __future__ import annotations

from ssm2edge.orders.budget import all_states, smallest_budget
from ssm2edge.orders.choice import Choice
from ssm2edge.orders.joint import Around, ChosenBits, choose_jointly
from ssm2edge.orders.judging import Judged
from ssm2edge.orders.request import Request
from ssm2edge.orders.rules import RULES
from ssm2edge.orders.search import choose_reductions
from ssm2edge.orders.selection import Selection
from ssm2edge.orders.splitting import Level, Levels
from ssm2edge.orders.study import DIRECT, Study, study

__all__ = [
    "DIRECT",
    "RULES",
    "Around",
    "Choice",
    "ChosenBits",
    "Judged",
    "Level",
    "Levels",
    "Request",
    "Selection",
    "Study",
    "all_states",
    "choose_jointly",
    "choose_reductions",
    "smallest_budget",
    "study",
]
