"""The user's model, weights and samples, read with suspicion."""

from __future__ import annotations

from ssm2edge.loading.flax_trees import read_flax_tree
from ssm2edge.loading.model import UserModel, input_names, load_model, load_user_model
from ssm2edge.loading.samples import Samples, load_samples
from ssm2edge.loading.source import Source, open_source

__all__ = [
    "Samples",
    "Source",
    "UserModel",
    "input_names",
    "load_model",
    "load_samples",
    "load_user_model",
    "open_source",
    "read_flax_tree",
]
