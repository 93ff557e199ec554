"""Limits of a device that no size of the model holds, refused before the original runs and anything is searched."""

from __future__ import annotations

from ssm2edge.errors import UserError
from ssm2edge.options import Options
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.orders.fitting import largest_cost, out_of_reach
from ssm2edge.orders.study import DIRECT
from ssm2edge.original.task import Task
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.budgets import smallest_costs_of
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.resolve import request_of


def check_reach(task: Task, options: Options, progress: Progress) -> None:
    """Refuse a largest number of bytes or a largest latency that the graphs exceed with one state a channel.

    Raises
    ------
    UserError
        If they do; the sentence says what can be reached.
    """
    costs, request = smallest_costs_of(task, options), request_of(options)
    if costs is None:
        return
    progress("smallest graphs", 0.0)
    found = []
    for cost in costs(reduce_layers(task.systems, uniform_orders(task.systems, 1), DIRECT, task.horizon)):
        if cost <= largest_cost(request):
            return
        found.append(cost)
    raise UserError(out_of_reach(request, min(found)))
