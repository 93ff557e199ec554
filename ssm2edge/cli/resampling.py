"""Recordings at the rate that a model takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError


@dataclass(frozen=True)
class Resampling:
    """The way of a recording to the rate of a model.

    Attributes
    ----------
    asked
        True if a recording of another rate is resampled, and not refused.
    """

    asked: bool = False

    def at(self, rate: int | None, samples: NDArray[Any], recorded: int, path: Path) -> NDArray[Any]:
        """Return a recording at a model's rate.

        Parameters
        ----------
        rate
            Samples a second that the model takes; None where it does not say.
        samples
            ``[time, channels]``.
        recorded
            Samples a second that the recording has.
        path
            For sentences.

        Raises
        ------
        UserError
            If the rates differ and nobody asked to resample, or the model has no rate.
        """
        if rate is None and self.asked:
            raise UserError(
                f"The model has no rate that {path} could be resampled to; leave --resample out, or build it with --rate."
            )
        if rate is None or rate == recorded:
            return samples
        if not self.asked:
            raise UserError(f"{path} has {recorded} samples a second, but the model takes {rate}: convert it, or add --resample.")
        try:
            from scipy.signal import resample_poly
        except ImportError as fault:
            raise UserError(f"Resampling {path} needs scipy: install ssm2edge[build], or convert the recording.") from fault
        common = math.gcd(rate, recorded)
        found = resample_poly(samples.astype(np.float64), rate // common, recorded // common, axis=0)
        return np.asarray(found, samples.dtype)
