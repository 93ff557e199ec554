"""What is decided for a user who did not say how small the model should become."""

from __future__ import annotations

import dataclasses

from ssm2edge.options import Options
from ssm2edge.stages.load import Loaded

CALIBRATED, BLIND = 1 / 8, 1 / 2
"""Shares of the states kept with calibration samples and without.

The reference models (docs/tables.md) lose at most two points at an eighth of their states once matched on calibration samples.
Without, the reduction knows nothing of the inputs that the layers get, and some models fail at a quarter already.
"""


def decided(options: Options, loaded: Loaded) -> tuple[Options, str | None]:
    """Decide what the options leave undecided.

    Parameters
    ----------
    options
        As given.
    loaded
        The user's model and samples.

    Returns
    -------
    Options
        With nothing undecided.
    str or None
        A sentence on what was decided and why; None where nothing was undecided.
    """
    if not options.undecided:
        return options, None
    count = len(next(iter(loaded.samples.calibration.values()), ()))
    calibrate = options.calibrate
    if "calibrate" in options.undecided:
        calibrate = "match" if count else "none"
    if calibrate == "none":
        keep, reason = BLIND, "the inputs of the layers are not known without calibration samples"
    else:
        keep, reason = CALIBRATED, f"calibrated on {count} samples ({calibrate}) the reference models lose little at that"
    widths = [system.batch_shape.numel() for system in loaded.systems.values()]
    all_states = sum(width * system.order for width, system in zip(widths, loaded.systems.values(), strict=True))
    # Every channel keeps at least one state.
    keep = max(keep, sum(widths) / all_states)
    sentence = f"No size was given: {keep:g} of the states are kept, for {reason}."
    return dataclasses.replace(options, keep=keep, calibrate=calibrate, undecided=frozenset()), sentence
