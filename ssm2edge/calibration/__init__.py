"""Better reduced systems from unlabelled samples: from the inputs of each layer, and from the outputs of the network.

``spectrum`` reduces each layer for the inputs it gets after the layers below were reduced; ``match`` goes on from there and tunes
all reduced blocks together until the network's outputs are the original's.
"""

from __future__ import annotations

from ssm2edge.calibration.bits_by_outputs import SAMPLES, rounding_costs
from ssm2edge.calibration.calibrate import CALIBRATIONS, Calibrated, calibrate, calibrate_spectrum
from ssm2edge.calibration.matching import Matched, Matching
from ssm2edge.calibration.signals import Signals, signals_of
from ssm2edge.calibration.teacher import as_tuple

__all__ = [
    "CALIBRATIONS",
    "SAMPLES",
    "Calibrated",
    "Matched",
    "Matching",
    "Signals",
    "as_tuple",
    "calibrate",
    "calibrate_spectrum",
    "rounding_costs",
    "signals_of",
]
