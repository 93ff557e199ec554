"""Weights in few bits: integers times steps, for everything of a network that is no state-space system."""

from __future__ import annotations

from ssm2edge.quantisation.bits import PLAIN, PRECISIONS, bits_of, bytes_by_precision, bytes_of, levels_of, stored_bytes_of
from ssm2edge.quantisation.covariance import Inputs, inputs_of
from ssm2edge.quantisation.grid import grid_of
from ssm2edge.quantisation.halves import halve
from ssm2edge.quantisation.rounding import Rounded, round_weight, round_weights, small_parameters
from ssm2edge.quantisation.steps import Steps, steps_of
from ssm2edge.quantisation.systems import allowed_error, round_block
from ssm2edge.quantisation.weights import FEWEST, NARROWEST, Weight, small_weights_of, weights_of

__all__ = [
    "FEWEST",
    "NARROWEST",
    "PLAIN",
    "PRECISIONS",
    "Inputs",
    "Rounded",
    "Steps",
    "Weight",
    "allowed_error",
    "bits_of",
    "bytes_by_precision",
    "bytes_of",
    "grid_of",
    "halve",
    "inputs_of",
    "levels_of",
    "round_block",
    "round_weight",
    "round_weights",
    "small_parameters",
    "small_weights_of",
    "steps_of",
    "stored_bytes_of",
    "weights_of",
]
