"""How to build: what the command line and build.toml can say, joined and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssm2edge.calibration import CALIBRATIONS, Matching
from ssm2edge.errors import UserError
from ssm2edge.loading import BUILD_OPTIONS, Source
from ssm2edge.orders.request import Request
from ssm2edge.reduction import METHODS

SIZES = ("order", "keep", "max_error", "max_drop")
"""Options that say how small the model becomes: exactly one is given."""

LONGEST_HORIZON = 10**12
"""Taps; the response of a stable float32 system is over long before."""

FEEDTHROUGHS = ("fitting", "own", "full")
"""What reduced layers of many inputs and outputs hold beside their states: what the layer has, or a full matrix."""


@dataclass(frozen=True)
class Options:
    """How to build.

    Attributes
    ----------
    order, keep, max_error, max_drop, max_error_of
        How small the model becomes; see :class:`ssm2edge.orders.request.Request`.
    method
        Name in the registry of reduction methods.
    horizon
        Taps on which errors count; None for the infinite horizon, "samples" for the length of the held-out samples.
    block
        Samples per block of the streaming graph.
    plan
        Kernel forms by layer where the user chooses them; see :mod:`ssm2edge.lowering.choice`.
    calibrate
        What the calibration samples are used for: "none", "spectrum" or "match".
    calibration_steps, seed
        Budget of "match", and what its random choices start from.
    device
        Where the original runs: "cpu" or "cuda".
    feedthrough
        One of ``FEEDTHROUGHS``: "full" moves layers that read the state after the sample into paper form, "own" leaves them as
        they are, "fitting" moves those that do not become larger than they were.
    trust_pickle
        Load weights files that can run code.
    undecided
        What was not said, ``size`` and perhaps ``calibrate``: `ssm2edge.stages.defaults` decides by the samples there are.
    """

    order: int | None = None
    method: str = "gradient"
    horizon: int | str | None = "samples"
    block: int = 1
    trust_pickle: bool = False
    keep: float | None = None
    max_error: float | None = None
    max_drop: float | None = None
    max_error_of: str = "measured"
    calibrate: str = "none"
    calibration_steps: int = Matching.steps
    seed: int = 0
    plan: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    feedthrough: str = "fitting"
    undecided: frozenset[str] = frozenset()

    @property
    def matching(self) -> Matching:
        """Budget and seed of output matching."""
        return Matching(steps=self.calibration_steps, seed=self.seed)

    @property
    def request(self) -> Request:
        """How small the model becomes."""
        return Request(self.order, self.keep, self.max_error, self.max_drop, self.max_error_of)


def check_options(options: Options) -> None:
    """Refuse options that no model could be built with.

    Raises
    ------
    UserError
        If one is out of range or names nothing that there is; the sentence says which.
    """
    if "size" not in options.undecided:
        options.request.check()
    if options.method not in METHODS:
        raise UserError(f"There is no reduction method {options.method!r}; choose one of {', '.join(METHODS)}.")
    if options.calibrate not in CALIBRATIONS:
        raise UserError(f"There is no calibration {options.calibrate!r}; choose one of {', '.join(CALIBRATIONS)}.")
    if options.feedthrough not in FEEDTHROUGHS:
        raise UserError(f"There is no feedthrough {options.feedthrough!r}; choose one of {', '.join(FEEDTHROUGHS)}.")
    if options.calibration_steps < 1:
        raise UserError(f"Matching needs at least 1 step, not {options.calibration_steps}; or ask for --calibrate spectrum.")
    if not 0 <= options.seed < 1 << 63:
        raise UserError(f"The seed {options.seed} is out of range; give a number from 0 to 2^63 - 1.")
    if options.block < 1:
        raise UserError(f"A block of {options.block} samples cannot be streamed; ask for at least 1.")
    if isinstance(options.horizon, int) and options.horizon < 1:
        raise UserError(f"A horizon of {options.horizon} taps counts nothing; ask for at least 1, or inf.")
    if isinstance(options.horizon, int) and options.horizon > LONGEST_HORIZON:
        raise UserError(f"A horizon of {options.horizon} taps has no end in practice; ask for inf.")


def options_from(source: Source, given: Mapping[str, Any]) -> Options:
    """Join what the command line gives (None where it is silent) with what build.toml asks for.

    Where neither says how many states to keep, that is left undecided, and so is the calibration unless it is said.

    Raises
    ------
    UserError
        If a value in build.toml has the wrong type.
    """
    chosen = _checked(source.defaults)
    if any(given.get(key) is not None for key in SIZES):
        chosen = {key: value for key, value in chosen.items() if key not in SIZES}
    chosen |= {key: given[key] for key in BUILD_OPTIONS if key != "horizon" and given.get(key) is not None}
    if given.get("horizon", "samples") != "samples":
        chosen["horizon"] = given["horizon"]
    undecided: frozenset[str] = frozenset()
    if not any(key in chosen for key in SIZES):
        undecided = frozenset({"size"} if "calibrate" in chosen else {"size", "calibrate"})
    return Options(**chosen, trust_pickle=bool(given.get("trust_pickle", False)), undecided=undecided)


def _checked(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that build.toml gives, as :class:`Options` holds them."""
    for key, value in defaults.items():
        kinds = BUILD_OPTIONS[key]
        if type(value) not in kinds:
            raise UserError(f"build.{key} is {value!r}; it must be {' or '.join(kind.__name__ for kind in kinds)}.")
    horizon = defaults.get("horizon")
    if isinstance(horizon, str) and horizon != "inf":
        raise UserError(f"build.horizon is {horizon!r}; give a number of taps, or inf.")
    for layer, form in defaults.get("plan", {}).items():
        if not isinstance(form, str):
            raise UserError(f"build.plan gives {form!r} for {layer}; give a form as text, such as sequence:64.")
    return {**defaults, "horizon": None} if horizon == "inf" else dict(defaults)


def described(options: Options, horizon: int | None) -> dict[str, Any]:
    """The options as they can be given again; ``horizon`` in taps, None for the infinite one."""
    size = {key: getattr(options, key) for key in SIZES if getattr(options, key) is not None}
    if options.max_error is not None:
        size["max_error_of"] = options.max_error_of
    return {
        **size,
        "method": options.method,
        "horizon": "inf" if horizon is None else horizon,
        "block": options.block,
        **({"plan": dict(options.plan)} if options.plan else {}),
        **({} if options.device == "cpu" else {"device": options.device}),
        **({} if options.feedthrough == "fitting" else {"feedthrough": options.feedthrough}),
        **({} if options.calibrate == "none" else {"calibrate": options.calibrate}),
        **({"calibration_steps": options.calibration_steps, "seed": options.seed} if options.calibrate == "match" else {}),
    }
