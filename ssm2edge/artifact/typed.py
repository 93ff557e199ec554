"""Records to JSON and back, by their annotations alone.

Reading is strict.  A key too many or too few, a value of another type, a number that is not finite: each is one `ArtifactError`
that names the place.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from ssm2edge.artifact.errors import ArtifactError

AGAIN = "build the artifact again"
"""The mend of a record that does not fit, in all sentences."""


def parse(text: str | bytes, name: str) -> Any:
    """Return the JSON of a file.

    Raises
    ------
    ArtifactError
        If the text is not JSON, or holds a number that is not finite.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        raise ArtifactError(f"{name} is not readable JSON ({str(fault)[:100]}): {AGAIN}.") from fault


def plain(value: Any) -> Any:
    """Return a record as plain JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {entry: getattr(value, entry.name) for entry in dataclasses.fields(value)}
        return {entry.name: plain(item) for entry, item in entries.items() if item or not is_optional(entry)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def typed(kind: Any, value: Any, where: str) -> Any:
    """Return the value of an annotated type from plain JSON.

    Raises
    ------
    ArtifactError
        If the value does not fit; the sentence names the place.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return typed(kind, value, where)
    if origin is tuple:
        items = _expect(list, value, where)
        return tuple(typed(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(items))
    if origin is Mapping:
        entries = _expect(dict, value, where)
        return {key: typed(arguments[1], item, f"{where}.{key}") for key, item in entries.items()}
    if dataclasses.is_dataclass(kind):
        return _record(kind, _expect(dict, value, where), where)
    if kind is float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ArtifactError(f"{where} should be a finite number, but is {str(value)[:40]!r}: {AGAIN}.")
        return float(value)
    return _expect(kind, value, where)


def _record(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    needed = {entry.name for entry in dataclasses.fields(kind) if not is_optional(entry)}
    unknown, missing = sorted(set(value) - set(hints)), sorted(needed - set(value))
    if unknown:
        raise ArtifactError(f"{where} has the unknown key {unknown[0][:40]!r}: {AGAIN} with this version.")
    if missing:
        raise ArtifactError(f"{where} lacks the key {missing[0]!r}: {AGAIN} with this version.")
    return kind(**{name: typed(hint, value[name], f"{where}.{name}") for name, hint in hints.items() if name in value})


def is_optional(entry: dataclasses.Field[Any]) -> bool:
    """Return whether a record's field is left out where it is empty."""
    return bool(entry.metadata.get("optional"))


def _expect(kind: type, value: Any, where: str) -> Any:
    # bool is a subclass of int, and true is not a count.
    if type(value) is not kind:
        raise ArtifactError(f"{where} should be {kind.__name__}, but is {type(value).__name__}: {AGAIN}.")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
