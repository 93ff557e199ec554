"""The output-error bound of a whole network: what its layers' errors can do to its outputs, and which constants that rests on."""

from __future__ import annotations

from ssm2edge.bounds.constants import Constant
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.gains import Gains, error_gains, gains
from ssm2edge.bounds.network import BankGains, Bound, LayerShare, network_bound
from ssm2edge.bounds.observation import Observed, observe
from ssm2edge.bounds.program import Network

__all__ = [
    "BankGains",
    "Bound",
    "BoundError",
    "Constant",
    "Gains",
    "LayerShare",
    "Network",
    "Observed",
    "error_gains",
    "gains",
    "network_bound",
    "observe",
]
