"""The bound on the output error of a whole network, from its layers' errors, and the constants that it rests on."""

from __future__ import annotations

from ssm2edge.bounds.constants import Constant
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.gains import Gains, error_gains, gains
from ssm2edge.bounds.layer_gains import NetworkGains
from ssm2edge.bounds.matrix_gains import MatrixGains
from ssm2edge.bounds.network import Bound, LayerShare, network_bound
from ssm2edge.bounds.observation import Observed, observe
from ssm2edge.bounds.pair import OutputBounds, bound_record, output_bounds

__all__ = [
    "Bound",
    "BoundError",
    "Constant",
    "Gains",
    "LayerShare",
    "MatrixGains",
    "NetworkGains",
    "Observed",
    "OutputBounds",
    "bound_record",
    "error_gains",
    "gains",
    "network_bound",
    "observe",
    "output_bounds",
]
