"""LTI layers of models: found as Systems, and replaced by blocks.

:func:`realise_layers` first realises systems that no library can read from parameters.
"""

from __future__ import annotations

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.contract import (
    Block,
    FoundLayer,
    LayerError,
    LayerLibrary,
    Origin,
    Realised,
    Refusal,
    RefusedLayer,
    Use,
    Wrapper,
    around,
)
from ssm2edge.layers.differentiable import differentiable_systems
from ssm2edge.layers.finding import check_lengths, check_stable, find_layers, find_refused, fix_lengths, fix_rates, realise_layers
from ssm2edge.layers.held import Held, HeldBlock
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.layers.observation import Examples
from ssm2edge.layers.placing import put
from ssm2edge.layers.realising import Reader
from ssm2edge.layers.refusals import REFUSALS
from ssm2edge.layers.registry import BLOCKS, LIBRARIES, block_of
from ssm2edge.layers.replacing import blocks, describe_blocks, exchange_block, exportable, replace_layers
from ssm2edge.layers.s5 import S5
from ssm2edge.layers.s5_import import s5_from_flax, s5_model_from_flax
from ssm2edge.layers.spans import Span, span_of
from ssm2edge.layers.tied_block import TiedBank

__all__ = [
    "BLOCKS",
    "LIBRARIES",
    "REFUSALS",
    "S5",
    "Block",
    "Examples",
    "FoundLayer",
    "Held",
    "HeldBlock",
    "LayerError",
    "LayerLibrary",
    "Origin",
    "Reader",
    "Realised",
    "ReducedBank",
    "ReducedMimo",
    "Refusal",
    "RefusedLayer",
    "Span",
    "TiedBank",
    "Use",
    "Wrapper",
    "around",
    "block_of",
    "blocks",
    "check_lengths",
    "check_stable",
    "describe_blocks",
    "differentiable_systems",
    "exchange_block",
    "exportable",
    "find_layers",
    "find_refused",
    "fix_lengths",
    "fix_rates",
    "put",
    "realise_layers",
    "replace_layers",
    "s5_from_flax",
    "s5_model_from_flax",
    "span_of",
]
