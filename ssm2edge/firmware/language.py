"""Types and constants of C."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ssm2edge.firmware.errors import FirmwareError

TYPES = {
    "float32": "float",
    "float64": "double",
    "int64": "int64_t",
    "int32": "int32_t",
    "bool": "uint8_t",
    "uint8": "uint8_t",
    "int8": "int8_t",
}
"""C types by numpy's names."""

WORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for",
    "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct",
    "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "self", "main",
})  # fmt: skip
"""Words that a name in C may not be."""


def c_type(dtype: np.dtype[Any]) -> str:
    """Return the C type of a dtype.

    Raises
    ------
    FirmwareError
        If there is none.
    """
    if dtype.name not in TYPES:
        raise FirmwareError(f"Numbers of the type {dtype.name} have no C form here: use float32 in the model.")
    return TYPES[dtype.name]


def c_literal(value: Any) -> str:
    """Return a number as a C constant that reads back as the same number."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | np.integer):
        return f"INT64_C({value})" if abs(int(value)) > 2**31 - 1 else str(int(value))
    number = float(value)
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    # numpy writes the shortest digits that give the same float32, not those of its float64 neighbour.
    return f"{value!s}f" if isinstance(value, np.float32) else repr(number)


def c_name(text: str, taken: Iterable[str] = ()) -> str:
    """Return a name for C that is like a text and not taken yet."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or "value"
    if name[0].isdigit() or name in WORDS:
        name = f"_{name}".replace("_", "x_", 1)
    used, number, found = set(taken), 2, name
    while found in used:
        found, number = f"{name}_{number}", number + 1
    return found
