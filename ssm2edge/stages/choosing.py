"""The samples by which a size is chosen, apart from those by which the artifact is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError
from ssm2edge.options import Options
from ssm2edge.original.task import Task

FEWEST = 6
"""Held-out samples of which half can choose: three, the fewest that have a spread."""


def halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the samples that choose and of those that judge, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(count)
    return np.sort(drawn[: count // 2]), np.sort(drawn[count // 2 :])


def with_choosing_part(task: Task, options: Options) -> Task:
    """Split the held-out samples where a size is chosen on samples and no validation part is there for it.

    The half that judges becomes the held-out part; no label and no answer of it has been seen when the artifact is judged.

    Raises
    ------
    UserError
        If the size asked for needs labels that are not there, or samples that cannot be shared out.
    """
    samples = task.samples
    by_drop = options.max_drop is not None
    if not (by_drop or (options.max_error is not None and options.max_error_of == "measured")) or not samples.held_out:
        return task
    if by_drop and samples.validation and not samples.validation_labels:
        raise UserError("A largest drop is chosen on the validation samples; add their labels as validation_labels.")
    if by_drop and not samples.validation and not samples.labels:
        raise UserError("A largest drop needs labels of the held-out samples; add them, or ask for --max-error.")
    if samples.validation:
        return task
    count = len(next(iter(samples.held_out.values())))
    if count < FEWEST and by_drop:
        raise UserError(f"Half of {count} held-out samples cannot choose a size; give at least {FEWEST}, or a validation part.")
    if count < FEWEST:
        # What is compared with the original alone needs no labels.
        return dataclasses.replace(task, samples=dataclasses.replace(samples, validation=samples.calibration or samples.held_out))
    choosing, judging = halves(count, options.seed)
    parts = dataclasses.replace(
        samples,
        validation=_rows(samples.held_out, choosing),
        validation_labels=_rows(samples.labels, choosing),
        held_out=_rows(samples.held_out, judging),
        labels=_rows(samples.labels, judging),
    )
    return dataclasses.replace(task, samples=parts)


def _rows(values: Mapping[str, NDArray[Any]], places: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: value[places] for name, value in values.items()}
