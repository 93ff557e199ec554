"""Figures and names as people read them, safe inside HTML."""

from __future__ import annotations

import html
import math

MINUS, TIMES, THIN, ENSPACE = "−", "×", "\u202f", "\u2002"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text(value: object) -> str:
    """Return any value as HTML text."""
    return html.escape(str(value))


def figure(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits; very large and small ones with a power of ten."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
        return f"{mantissa}{THIN}·{THIN}{power}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def label(value: float) -> str:
    """Return a number on an axis, with as few digits as possible."""
    whole, point, rest = f"{value:.10g}".partition(".")
    if "e" in whole + rest:
        return figure(value, 2)
    grouped = f"{int(whole):,}".replace(",", THIN) if whole not in ("-0", "") else whole
    return (grouped + point + rest).replace("-", MINUS)


def short(name: str, most: int) -> str:
    """Return the end of a name, which distinguishes layers, for a narrow place."""
    return name if len(name) <= most else "…" + name[1 - most :]


def count(value: int) -> str:
    """Return a whole number with thin spaces."""
    return f"{value:,}".replace(",", THIN)


def percent(share: float, digits: int = 2) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{digits}f}{THIN}%"


def seconds(value: float) -> str:
    """Return a time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size or unit == "µs":
            return f"{figure(value / size)}{THIN}{unit}"
    raise AssertionError("the last unit takes everything")


def size(value: int) -> str:
    """Return bytes with a unit."""
    for unit, step in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= step:
            return f"{figure(value / step)}{THIN}{unit}"
    return f"{value}{THIN}B"


def times(before: float, after: float) -> str:
    """Return the factor by which a quantity became smaller, or larger."""
    if after <= 0 or before <= 0:
        return ""
    return f"{figure(before / after)}{TIMES} smaller" if after <= before else f"{figure(after / before)}{TIMES} larger"


def power_of_ten(exponent: int) -> str:
    """Return a label of a logarithmic axis."""
    plain = {-2: "0.01", -1: "0.1", 0: "1", 1: "10", 2: "100"}
    return plain.get(exponent, "10" + str(exponent).translate(_SUPERSCRIPTS))
