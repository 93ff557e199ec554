"""Better reduced systems from unlabelled samples: from the inputs of each layer, and from the outputs of the network.

``spectrum`` reduces each layer for the inputs it gets after the layers below were reduced; ``match`` goes on from there and tunes
all reduced blocks together until the network's outputs are the original's.
"""

from __future__ import annotations

from ssm2edge.calibration.calibrate import CALIBRATIONS, Calibrated, calibrate, calibrate_spectrum
from ssm2edge.calibration.matching import Matched, Matching
from ssm2edge.calibration.signals import Signals, signals_of

__all__ = [
    "CALIBRATIONS",
    "Calibrated",
    "Matched",
    "Matching",
    "Signals",
    "calibrate",
    "calibrate_spectrum",
    "signals_of",
]
