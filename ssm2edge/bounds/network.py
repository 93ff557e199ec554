"""The bound on the error of a network's output.

One walk through the traced network carries, for every value, the error between the original and the reduced network.  Each LTI
block adds the error of its own reduction, ``||(G - Ghat) u||``, and everything behind it multiplies by a Lipschitz constant, so
that over a residual stack ``z + F_l(G_l N_l(z))``

    E_{l+1} <= E_l + Lip(F_l) (||G_l - Ghat_l|| ||u_l|| + ||Ghat_l|| Lip(N_l) E_l)

in the root mean square over time (the output-error bound of Forgione et al. for deep state-space models, with H-infinity norms in
place of sqrt(N) times h2 norms; both are available).  It assumes exact arithmetic: float32 rounding comes on top.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx

from ssm2edge.bounds.channels import channel_axis
from ssm2edge.bounds.constants import Constant
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.layer_gains import LayerGains, NetworkGains, Norm
from ssm2edge.bounds.observation import Observed
from ssm2edge.bounds.rules import RULES
from ssm2edge.bounds.signals import total, unknown_size
from ssm2edge.bounds.walk import Walk
from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System
from ssm2edge.traced.network import Network, operator


@dataclass(frozen=True)
class LayerShare:
    """Contribution of one layer's reduction.

    Attributes
    ----------
    error
        Gain of ``G - Ghat``, the largest over the channels of a bank, in the norm of the bound.
    arriving
        Bound on the error of the layer's inputs.
    injected
        Bound on ``(G - Ghat) u`` for the original's inputs u.
    contribution
        Its part of the bound before any cut at the range of a normalisation.
    weight
        ``contribution / error``: cost at the output of an error of one in this layer.
    """

    error: float
    arriving: float
    injected: float
    contribution: float
    weight: float


@dataclass(frozen=True)
class Bound:
    """Upper bound on the error of a network's output.

    Attributes
    ----------
    value
        Bound on the Euclidean norm of the error (root mean square over time, for outputs along time), for every sequence.
    kind
        ``certified`` if every constant is proven, so that it holds for all inputs; else ``estimated``: it holds where the inputs
        keep to the extremes seen on samples.
    norm
        Norm of the layers' errors.
    horizon
        Longest sequence it holds for; None for any length.
    layers
        Contributions by layer.
    cut
        Normalisations at whose range the error was cut.
    constants
        All constants that it rests on.
    """

    value: float
    kind: Literal["certified", "estimated"]
    norm: Norm
    horizon: int | None
    layers: Mapping[str, LayerShare]
    cut: tuple[str, ...]
    constants: tuple[Constant, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the bound as plain values."""
        return {
            "value": self.value,
            "kind": self.kind,
            "norm": self.norm,
            "horizon": "inf" if self.horizon is None else self.horizon,
            "layers": {name: dataclasses.asdict(share) for name, share in self.layers.items()},
            "cut": list(self.cut),
            "constants": [dataclasses.asdict(constant) for constant in self.constants],
        }


def network_bound(
    network: Network, gains: NetworkGains, reduced: Mapping[str, System], observed: Observed | None = None, norm: Norm = "hinf"
) -> Bound:
    """Bound the output error of a reduced network.

    Parameters
    ----------
    network
        Traced from the reduced or the full-order model: its layers' systems are not looked at.
    gains
        Of the original systems, and the longest sequence they are run on.
    reduced
        By layer, the systems in their place.
    observed
        Extremes on samples of both networks; None for a bound from proven constants alone.
    norm
        Measure of the layers' errors; H-infinity's is the sharper one.

    Raises
    ------
    BoundError
        If the network has an operation without a rule, or nothing bounds the inputs of a layer.
    """
    layers = {name: gains.of(name, reduced[name], norm) for name in network.layers.values()}
    capped = _walk(network, layers, observed, True)
    linear = _walk(network, layers, observed, False)
    output = _output(network)
    contributions: dict[str, float] = dict.fromkeys(layers, 0.0)
    for node in output:
        for term in linear.known[node][1]:
            contributions[term.source] += term.norm
    shares = {
        name: LayerShare(
            error=layers[name].error,
            arriving=capped.arriving[name],
            injected=capped.injected[name],
            contribution=contributions[name],
            weight=contributions[name] / max(layers[name].error, TINY),
        )
        for name in layers
    }
    value = math.sqrt(sum(total(capped.known[node][1]) ** 2 for node in output))
    if not math.isfinite(value):
        raise BoundError("The output bound is infinite: nothing bounds a factor or gate in the network.")
    kind: Literal["certified", "estimated"] = (
        "certified" if all(constant.kind == "proven" for constant in capped.constants) else "estimated"
    )
    return Bound(value, kind, norm, gains.horizon, shares, tuple(capped.caps), tuple(capped.constants))


def _walk(network: Network, layers: Mapping[str, LayerGains], observed: Observed | None, capped: bool) -> Walk:
    walk = Walk(network, layers, observed, capped)
    for node in network.inputs:
        walk.known[node] = (unknown_size(_channels(node)), ())
    for node in network.nodes:
        if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
            continue
        rule = RULES.get(operator(node))
        if rule is None:
            raise BoundError(f"The output bound has no rule for {node.target} ({node.name}).")
        walk.known[node] = rule(node, walk)
    return walk


def _channels(node: fx.Node) -> int:
    value = node.meta["val"]
    if all(isinstance(size, torch.SymInt) for size in value.shape):
        return 1
    return int(value.shape[channel_axis(node)])


def _output(network: Network) -> list[fx.Node]:
    (node,) = [node for node in network.nodes if node.op == "output"]
    values = node.args[0]
    assert isinstance(values, list | tuple)
    return [value for value in values if isinstance(value, fx.Node)]
