"""The front end of models for sound in C, so that samples of a microphone go in: `ssm2edge.audio.LogMel`, number for number."""

from __future__ import annotations

import numpy as np

from ssm2edge.audio.log_mel import LogMel
from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.language import c_literal, c_type
from ssm2edge.firmware.sources import Extra, Names, array, filled
from ssm2edge.firmware.step import Step

FULL_SCALE = 32768.0
"""Of the whole numbers that a microphone gives."""


def log_mel(front_end: LogMel, step: Step, names: Names) -> Extra:
    """Return the C form of a front end, which calls the step.

    Raises
    ------
    FirmwareError
        If the model does not take one frame of it at a time.
    """
    if len(step.inputs) != 1 or step.inputs[0].size != front_end.mels:
        raise FirmwareError(
            f"The front end makes one frame of {front_end.mels} energies at a time, but a step takes other inputs: "
            "build the model with --block 1."
        )
    points, hop, window = front_end.points, front_end.hop, front_end.window
    angles = 2 * np.pi * np.arange(points // 2) / points
    turns = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32).ravel()
    # The highest bin is the end of the last triangle, where its weight is zero.
    filters = front_end.filters[: points // 2]
    used = [np.flatnonzero(column) for column in filters.T]
    spans = [(int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0) for rows in used]
    weights = np.concatenate([filters[start:stop, place] for place, (start, stop) in enumerate(spans)])
    tables = [
        array("float", "turns", turns),
        array("float", "taper", (front_end.taper.astype(np.float64) / FULL_SCALE).astype(np.float32)),
        array("uint16_t", "bins", [place for span in spans for place in span]),
        array("float", "weights", weights.astype(np.float32)),
    ]
    outputs = [(c_type(buffer.dtype), names.ports[buffer.name]) for buffer in step.outputs]
    values: dict[str, object] = {
        "name": names.model,
        "NAME": names.model.upper(),
        "rate": front_end.sample_rate,
        "window": window,
        "hop": hop,
        "mels": front_end.mels,
        "points": points,
        "half": points // 2,
        "floor": c_literal(np.float32(front_end.floor)),
        "left": window - hop,
        "advance": f"memmove(self->window, self->window + {hop}, {2 * (window - hop)});" if hop < window else "",
        "outputs": "".join(f", {kind} *{name}" for kind, name in outputs),
        "passed": "".join(f", {name}" for _, name in outputs),
        "tables": "\n\n".join(tables),
    }
    return Extra(filled("log_mel.h", **values), filled("log_mel.c", **values), frozenset({"log"}))
