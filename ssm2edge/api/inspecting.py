"""``ssm2edge.inspect``: the layers of a model and the cost of each order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ssm2edge.api.arguments import check_axis, check_model, known_of, naming_arguments, path_of, pipeline_of

if TYPE_CHECKING:
    from torch import nn

    from ssm2edge.tables.results import Inspected


@naming_arguments
def inspect(
    model: nn.Module | str | os.PathLike[str],
    samples: Any = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    time_axis: int | None = None,
    metric: str | Mapping[str, str] | None = None,
    lti: Sequence[str] = (),
    static: Sequence[str] = (),
    shape: Any = None,
    scale: Any = None,
    readers: Mapping[type[nn.Module], Callable[[nn.Module], Any]] | None = None,
    trust_pickle: bool = False,
    horizon: int | str = "samples",
    progress: Callable[[str], None] | None = None,
) -> Inspected:
    """Return the LTI layers of a model and the cost of each order; the result prints as tables.

    Parameters
    ----------
    model, samples, weights, time_axis, metric, lti, static, shape, scale, readers, trust_pickle
        As for `build`; samples and shapes may be left out.
    horizon
        Taps on which errors count, or ``inf``.
    progress
        Called with the name of each layer.

    Raises
    ------
    UserError
        If anything given cannot be used; the sentence names the mend.
    """
    pipeline = pipeline_of()
    from ssm2edge.loading import metrics_of, open_source
    from ssm2edge.stages.in_memory import task_in_memory
    from ssm2edge.tables.results import Inspected

    check_model(model)
    check_axis(time_axis)

    source: Any
    if isinstance(model, str | os.PathLike):
        source = open_source(
            os.fspath(model), path_of(weights), path_of(samples), time_axis, metric, tuple(lti), trust_pickle, tuple(static),
            shape, scale, needed=False,
        )  # fmt: skip
    else:
        named = {"lti": tuple(lti), "static": tuple(static), **known_of(samples, None, shape, scale)}
        described = {"time_axis": time_axis or 1, "metrics": metrics_of(metric), **named}
        source = partial(task_in_memory, model, samples, None, None, readers, described)
    found = pipeline.inspect(source, horizon, progress or (lambda layer: None))
    return Inspected(found.layers, found.kept_layers, found.weights)
