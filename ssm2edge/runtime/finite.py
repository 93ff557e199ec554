"""Samples and answers that are not finite: a state keeps them for good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.runtime.errors import InputError


def all_finite(samples: NDArray[Any]) -> bool:
    """Return whether no sample is NaN or infinite, at the cost of one product with itself."""
    return samples.dtype.kind != "f" or math.isfinite(np.vdot(samples, samples)) or bool(np.isfinite(samples).all())


def check_finite(name: str, samples: NDArray[Any]) -> None:
    """Raise `InputError` if a sample is NaN or infinite."""
    if not all_finite(samples):
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(samples))[0])
        raise InputError(f"{name}{list(place)} is {samples[place]}, which would spoil all answers after it: replace it first.")


def check_answers(answers: Mapping[str, NDArray[Any]], samples: Iterable[NDArray[Any]]) -> None:
    """Raise `InputError` if the answers to some samples are not finite."""
    wrong = next((name for name, value in answers.items() if not all_finite(value)), None)
    if wrong is not None:
        largest = max((float(np.abs(value).max(initial=0)) for value in samples if value.dtype.kind == "f"), default=0.0)
        raise InputError(
            f"The model has no finite answer to these samples: {wrong} becomes NaN or infinite. The largest sample is "
            f"{largest:.3g}: scale the samples as they were for training, or leave them out."
        )
