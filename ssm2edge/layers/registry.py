"""The layer libraries and kinds of block that there are.

A new library is one file with a :class:`~ssm2edge.layers.contract.LayerLibrary` and one line in ``LIBRARIES``; a new shape of
system is one file with a :class:`~ssm2edge.layers.contract.Block`, one line in ``BLOCKS``, and one line in the calibration's
``KINDS``.
"""

from __future__ import annotations

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.contract import Block, LayerError, LayerLibrary
from ssm2edge.layers.dss import DSSLibrary
from ssm2edge.layers.h3 import H3Library
from ssm2edge.layers.lrnnx import LrnnxS4Library, LrnnxS5Library
from ssm2edge.layers.lru import LRULibrary
from ssm2edge.layers.mega import MegaLibrary
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.layers.realised import RealisedLibrary
from ssm2edge.layers.realising import LONG_CONVOLUTION, PROBED, REGISTERED
from ssm2edge.layers.reduced import BlockLibrary
from ssm2edge.layers.s4 import S4Library
from ssm2edge.layers.s4_early import EarlyS4Library
from ssm2edge.layers.s4d import S4DLibrary
from ssm2edge.layers.s5 import S5Library
from ssm2edge.layers.s5_pytorch import S5PytorchLibrary
from ssm2edge.layers.tied_block import TiedBank
from ssm2edge.systems.system import System

LIBRARIES: tuple[LayerLibrary, ...] = (
    *(RealisedLibrary(kind) for kind in (LONG_CONVOLUTION, PROBED, REGISTERED)),
    BlockLibrary(), S4DLibrary(), S4Library(), EarlyS4Library(), DSSLibrary(), LRULibrary(), S5PytorchLibrary(), S5Library(),
    LrnnxS4Library(), LrnnxS5Library(), H3Library(), MegaLibrary(),
)  # fmt: skip

BLOCKS: tuple[type[Block], ...] = (TiedBank, ReducedBank, ReducedMimo)


def block_of(system: System, exact: bool = False) -> Block:
    """Make the block that holds a system, in float32.

    Parameters
    ----------
    system
        The system.
    exact
        Make the block that stands for an original: float64 where float32 could not hold it.

    Raises
    ------
    LayerError
        If no kind of block can.
    """
    kind = next((kind for kind in BLOCKS if kind.fits(system)), None)
    if kind is None:
        raise LayerError(
            f"no block holds systems of batch shape {tuple(system.batch_shape)} with {system.inputs} inputs and {system.outputs} "
            "outputs."
        )
    return kind.standing_for(system) if exact else kind(system)
