"""Reads and checks the user's model, weights and samples."""

from __future__ import annotations

from ssm2edge.loading.arguments import Arguments, Signature
from ssm2edge.loading.baking import baked, copied
from ssm2edge.loading.fingerprint import fingerprint_of
from ssm2edge.loading.flax_trees import read_flax_tree
from ssm2edge.loading.memory import arrays_in_memory, source_in_memory
from ssm2edge.loading.model import UserModel, load_model, load_user_model, ready
from ssm2edge.loading.samples import Samples, load_arrays, samples_of
from ssm2edge.loading.source import Source, metrics_of, open_source, rate_of
from ssm2edge.loading.synthetic import held_out, known_of_shapes, with_calibration

__all__ = [
    "Arguments",
    "Samples",
    "Signature",
    "Source",
    "UserModel",
    "arrays_in_memory",
    "baked",
    "copied",
    "fingerprint_of",
    "held_out",
    "known_of_shapes",
    "load_arrays",
    "load_model",
    "load_user_model",
    "metrics_of",
    "open_source",
    "rate_of",
    "read_flax_tree",
    "ready",
    "samples_of",
    "source_in_memory",
    "with_calibration",
]
