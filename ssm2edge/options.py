"""Options of a build: one table makes the command line, build.toml, the API, the checks and the manifest's record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypedDict

from ssm2edge.errors import UserError

SIZES = ("order", "keep", "max_error", "max_drop", "max_bytes", "max_ram", "max_latency")
"""Options that say how small the model becomes: exactly one is given."""

UNITS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
"""Suffixes of numbers of bytes."""

LONGEST_HORIZON = 10**12
"""Taps; the response of a stable float32 system is over long before."""

WORDS = {int: "a whole number", str: "a text", dict: "a table of names and texts"}
"""Values by their type, for sentences."""


@dataclass(frozen=True)
class Option:
    """One row of the table.

    Attributes
    ----------
    help
        For the command line; the default is added.
    kinds
        Types of the value in build.toml.
    choices
        The values there are; empty where any value of the kinds will do.
    metavar
        Name of the value on the command line.
    default_text
        The default in words, where the value does not say it.
    noun
        For sentences, where the name is none.
    recorded
        Whether the manifest records the option; unless given, it does where the value is not the default.
    """

    help: str
    kinds: tuple[type, ...]
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    default_text: str | None = None
    noun: str | None = None
    recorded: Callable[[Options], bool] | None = None

    @property
    def values(self) -> str:
        """The values that it takes, in words."""
        words = "a number" if float in self.kinds else " or ".join(WORDS[kind] for kind in self.kinds)
        return f"{words} that names a file and a function" if ":" in (self.metavar or "") else words


def _option(default: Any, help: str, *kinds: type, **more: Any) -> Any:
    metadata = {"option": Option(help, kinds, **more)}
    return field(default_factory=dict, metadata=metadata) if default is dict else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Options of a build; None where the user leaves the decision to the build."""

    order: int | None = _option(None, "States to keep per channel.", int)
    keep: float | None = _option(None, "Share of all states to keep, distributed over the layers.", int, float, metavar="SHARE")
    max_error: float | None = _option(None, "Smallest model whose relative output error stays below E.", int, float, metavar="E")
    max_error_of: str = _option(
        "measured",
        "Error that stays below E: measured on samples, or its bound.",
        str,
        choices=("measured", "bound"),
        recorded=lambda options: options.max_error is not None,
    )
    max_drop: float | None = _option(
        None, "Smallest model whose metric is shown to fall by at most so many points.", int, float, metavar="POINTS"
    )
    confidence: float = _option(
        0.95,
        "Probability with which --max-drop and --max-error hold beyond the samples that choose the size.",
        int,
        float,
        metavar="P",
        recorded=lambda options: options.max_drop is not None or options.max_error is not None,
    )
    max_bytes: int | str | None = _option(
        None, "Largest model none of whose graphs has more bytes; k and M are 1024 and 1024 times as many.", int, str, metavar="N"
    )
    max_ram: int | str | None = _option(
        None, "Largest model whose stream as C takes at most so many bytes of RAM, its stack included.", int, str, metavar="N"
    )
    max_latency: float | None = _option(
        None, "Largest model whose stream takes at most so many microseconds a step here.", int, float, metavar="US"
    )
    method: str = _option("gradient", "Reduction method: gradient, tlh2, balanced, ...", str, recorded=lambda _: True)
    calibrate: str = _option(
        "auto",
        "Improve the reduced layers on the calibration samples: for the spectrum of each layer's inputs, or until the outputs "
        "match the original's.",
        str,
        choices=("auto", "none", "spectrum", "match"),
        noun="calibration",
        default_text="auto: match where there are enough calibration samples",
        recorded=lambda options: options.calibrate not in ("auto", "none"),
    )
    calibration_steps: int | None = _option(
        None,
        "Steps of --calibrate match: its budget.",
        int,
        metavar="N",
        default_text="150; 400 on synthetic signals for outputs that NRMSE judges",
        recorded=lambda options: options.calibrate == "match",
    )
    max_loss: float | None = _option(
        None,
        "Publish nothing, and exit with code 1, if the artifact loses more points of its metric on the held-out samples.",
        int,
        float,
        metavar="POINTS",
    )
    retrain: str | None = _option(
        None,
        "Function that trains the compressed model further, with your data, before it is exported: it gets the module, and the "
        "seed where it has an argument of that name.",
        str,
        metavar="FILE.py:FUNCTION",
    )
    seed: int = _option(
        0,
        "Seed of the random choices of --calibrate match and --retrain.",
        int,
        recorded=lambda options: options.calibrate == "match" or options.retrain is not None,
    )
    feedthrough: str = _option(
        "fitting",
        "Feedthrough of reduced S5 and LRU layers: the layer's own (own), a full matrix for lag 0 exactly (full), or the matrix "
        "only if the reduced layer stays no larger than the original (fitting).",
        str,
        choices=("fitting", "own", "full"),
    )
    precision: str = _option(
        "float32",
        "Weights outside of the layers: float32, integers of 8 or 4 bits, or as few bits for each as the outputs stand (auto).",
        str,
        choices=("float32", "int8", "int4", "auto"),
    )
    block: int | None = _option(
        None,
        "Samples per block of the streaming graph.",
        int,
        metavar="T",
        default_text="1, or the fewest of a model that changes the rate of time",
        recorded=lambda _: True,
    )
    length: int | None = _option(
        None,
        "The only length of sequences that the graphs take: that of the samples.",
        int,
        metavar="SAMPLES",
        default_text="any, where the model holds for every length",
    )
    device: str = _option("cpu", "Where the original runs for its reference.", str, choices=("cpu", "cuda"))
    plan: Mapping[str, str] = _option(
        dict,
        "Kernel of a layer (* for any): sequence:T for whole sequences, elementwise[:T], chunked[:T] or unrolled for blocks; two "
        "with a + between.",
        dict,
        metavar="LAYER=FORM",
        default_text="the cheapest; see inspect --plan",
    )
    horizon: int | str | None = _option(
        "samples", "Taps on which errors count, or inf.", int, str, default_text="length of the samples", recorded=lambda _: True
    )

    def __post_init__(self) -> None:
        if self.horizon == "inf":
            object.__setattr__(self, "horizon", None)

    @property
    def undecided(self) -> bool:
        """True if nothing says how small the model becomes."""
        return all(getattr(self, name) is None for name in SIZES)


class BuildOptions(TypedDict, total=False):
    """Keyword arguments of the API: the same names as in :class:`Options`."""

    order: int
    keep: float
    max_error: float
    max_error_of: str
    max_drop: float
    max_bytes: int | str
    max_ram: int | str
    max_latency: float
    confidence: float
    max_loss: float
    method: str
    calibrate: str
    calibration_steps: int
    retrain: str
    seed: int
    feedthrough: str
    precision: str
    block: int
    length: int
    device: str
    plan: Mapping[str, str]
    horizon: int | str


TABLE: Mapping[str, Option] = {entry.name: entry.metadata["option"] for entry in fields(Options)}
"""Every option by name, in the order in which they are shown."""

DEFAULTS: Mapping[str, Any] = {entry.name: {} if entry.default is MISSING else entry.default for entry in fields(Options)}


def bytes_of(text: int | str | None) -> int | None:
    """Read a number of bytes, such as 160k.

    Raises
    ------
    UserError
        If it is none.
    """
    if text is None or isinstance(text, int):
        return text
    unit = text[-1:] if text[-1:] in UNITS else ""
    number = text.removesuffix(unit)
    if not number.isdecimal():
        raise UserError(f"A largest number of bytes cannot be {text!r}; give a number, such as 98304 or 96k.")
    return int(number) * UNITS[unit]


def check_options(options: Options) -> None:
    """Refuse values that no build could use, before anything is loaded.

    Raises
    ------
    UserError
        If one is out of range, or not one of its choices; the sentence says which.
    """
    for name, option in TABLE.items():
        value = getattr(options, name)
        if value is not None and type(value) not in (*option.kinds, type(DEFAULTS[name])):
            raise UserError(f"The option {name} is {value!r}; it must be {option.values}.")
        if option.choices and value is not None and value not in option.choices:
            noun = option.noun or name.replace("_", " ")
            raise UserError(f"There is no {noun} {value!r}; choose one of {', '.join(option.choices)}.")
    if options.calibration_steps is not None and options.calibration_steps < 1:
        raise UserError(f"Matching needs at least 1 step, not {options.calibration_steps}; or ask for --calibrate spectrum.")
    if not 0 <= options.seed < 1 << 63:
        raise UserError(f"The seed {options.seed} is out of range; give a number from 0 to 2^63 - 1.")
    if options.max_loss is not None and not 0 <= options.max_loss < float("inf"):
        raise UserError(f"A largest loss of {options.max_loss:g} points cannot be held; give a number of at least 0.")
    if options.retrain is not None and options.max_error is not None and options.max_error_of == "bound":
        raise UserError("The bound does not cover trained weights; ask for --max-error-of measured, or leave --retrain out.")
    if options.precision != "float32" and options.max_error is not None and options.max_error_of == "bound":
        raise UserError("The bound does not cover rounded weights; ask for --max-error-of measured, or for --precision float32.")
    if options.block is not None and options.block < 1:
        raise UserError(f"A block of {options.block} samples cannot be streamed; ask for at least 1.")
    if isinstance(options.horizon, str) and options.horizon != "samples":
        raise UserError(f"The horizon {options.horizon!r} is neither a number of taps nor inf.")
    if isinstance(options.horizon, int) and options.horizon < 1:
        raise UserError(f"A horizon of {options.horizon} taps counts nothing; ask for at least 1, or inf.")
    if isinstance(options.horizon, int) and options.horizon > LONGEST_HORIZON:
        raise UserError(f"A horizon of {options.horizon} taps has no end in practice; ask for inf.")


def options_from(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Options:
    """Join the values that the command line or the API gives with those that build.toml asks for.

    Parameters
    ----------
    defaults
        Section ``build`` of build.toml.
    given
        Values by name, None where the user is silent; other names are passed over.

    Raises
    ------
    UserError
        If a value in build.toml has the wrong type.
    """
    _check_types(defaults)
    # Numbers of numpy and torch are numbers.
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in given.items() if key in TABLE}
    chosen = {key: value for key, value in plain.items() if value is not None}
    kept = dict(defaults)
    if any(key in chosen for key in SIZES):
        kept = {key: value for key, value in kept.items() if key not in SIZES}
    return Options(**{**kept, **chosen})


def _check_types(defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if type(value) not in TABLE[key].kinds:
            raise UserError(f"build.{key} is {value!r}; it must be {TABLE[key].values}.")
    horizon = defaults.get("horizon")
    if isinstance(horizon, str) and horizon != "inf":
        raise UserError(f"build.horizon is {horizon!r}; give a number of taps, or inf.")
    for layer, form in defaults.get("plan", {}).items():
        if not isinstance(form, str):
            raise UserError(f"build.plan gives {form!r} for {layer}; give a form as text, such as sequence:64.")


def described(options: Options, horizon: int | None) -> dict[str, Any]:
    """Return the options as they can be given again; ``horizon`` in taps, None for the infinite one."""
    record: dict[str, Any] = {}
    for name, option in TABLE.items():
        value = getattr(options, name)
        if option.recorded(options) if option.recorded is not None else value != DEFAULTS[name]:
            record[name] = dict(value) if isinstance(value, Mapping) else value
    return {**record, "horizon": "inf" if horizon is None else horizon}


OPTION = re.compile(r"--(?P<name>[a-z]+(?:-[a-z]+)*)(?: (?P<value>[\w.*]+))?")
"""An option of the command line in a sentence, with what may be its value."""

NAMED = ("lti", "static")
"""Arguments that are lists of names."""

SWITCHES = ("force", "rebuild", "trust_pickle")
"""Arguments that are true or false."""


def as_arguments(text: str) -> str:
    """Return a sentence that names the arguments of functions in place of the options of the command line."""

    def argument(found: re.Match[str]) -> str:
        name, value = found["name"].replace("-", "_"), found["value"]
        rest = "" if value is None else f" {value}"
        if name in SWITCHES:
            return f"{name}=True{rest}"
        if value is not None and name in NAMED:
            return f"{name}=[{value.rstrip('.')!r}]".replace("'", '"') + value[len(value.rstrip(".")) :]
        choices = TABLE[name].choices if name in TABLE else ()
        plain = (value or "").rstrip(".")
        if plain in (*choices, "inf") or plain.replace(".", "", 1).isdigit():
            shown = plain if plain not in (*choices, "inf") else f'"{plain}"'
            return f"{name}={shown}{(value or '')[len(plain) :]}"
        return name + rest

    return OPTION.sub(argument, text)
