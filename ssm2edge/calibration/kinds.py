"""The calibration of each kind of block; a new kind is one line in ``KINDS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssm2edge.calibration.bank_spectrum import calibrated_bank
from ssm2edge.calibration.coordinates import BankCoordinates, BlockCoordinates, TiedCoordinates
from ssm2edge.calibration.mimo_coordinates import MimoCoordinates
from ssm2edge.calibration.mimo_least_squares import calibrated_mimo
from ssm2edge.calibration.signals import Place
from ssm2edge.calibration.spectra import gather_spectra
from ssm2edge.layers import Block, ReducedBank, ReducedMimo, TiedBank
from ssm2edge.systems.system import System


@dataclass(frozen=True)
class Kind:
    """The calibration of one kind of block.

    Attributes
    ----------
    spectrum
        Returns a better reduction from the place, the original and a reduction of it, and the name of the method.
    coordinates
        Returns coordinates in which a block at a place is tuned.
    """

    spectrum: Callable[[Place, System, System, str], System]
    coordinates: Callable[[Any, Place], BlockCoordinates]


def _bank(place: Place, system: System, reduced: System, method: str) -> System:
    return calibrated_bank(system, reduced, gather_spectra(place))


KINDS: Mapping[type[Block], Kind] = {
    ReducedBank: Kind(_bank, BankCoordinates.at),
    TiedBank: Kind(_bank, TiedCoordinates.at),
    ReducedMimo: Kind(calibrated_mimo, MimoCoordinates),
}
