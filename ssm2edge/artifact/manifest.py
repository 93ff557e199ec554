"""The manifest as text: JSON to `Manifest` and back, by the annotations of the records alone.

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
from ssm2edge.artifact.records import SCHEMA, Manifest

NAME = "manifest.json"


def to_json(manifest: Manifest) -> str:
    """Text of a manifest, the same for the same manifest.

    Raises
    ------
    ArtifactError
        If a figure is not finite, or a free value (options, bound, task, parity) cannot be written as JSON.
    """
    try:
        return json.dumps(_plain(manifest), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as fault:
        raise ArtifactError(f"The manifest cannot be written as JSON: {fault}.") from fault


def from_json(text: str | bytes) -> Manifest:
    """Manifest of a text.

    Raises
    ------
    ArtifactError
        If the text is not JSON, of another schema version, or differs from the records in any key or type.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        raise ArtifactError(f"{NAME} is not readable JSON ({str(fault)[:100]}): build the artifact again.") from fault
    if not isinstance(value, dict) or "schema" not in value:
        raise ArtifactError(f"{NAME} has no schema version: it is not a manifest of ssm2edge.")
    if value["schema"] != SCHEMA or isinstance(value["schema"], bool):
        raise ArtifactError(
            f"{NAME} has schema {str(value['schema'])[:20]}, but this version of ssm2edge reads {SCHEMA}: build it again."
        )
    manifest = _typed(Manifest, value, NAME)
    assert isinstance(manifest, Manifest)
    return manifest


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Value of an annotated type from plain JSON."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _typed(kind, value, where)
    if origin is tuple:
        items = _expect(list, value, where)
        return tuple(_typed(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(items))
    if origin is Mapping:
        entries = _expect(dict, value, where)
        return {key: _typed(arguments[1], item, f"{where}.{key}") for key, item in entries.items()}
    if dataclasses.is_dataclass(kind):
        return _record(kind, _expect(dict, value, where), where)
    if kind is float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ArtifactError(f"{where} should be a finite number, but is {str(value)[:40]!r}: build the artifact again.")
        return float(value)
    return _expect(kind, value, where)


def _record(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown, missing = sorted(set(value) - set(hints)), sorted(set(hints) - set(value))
    if unknown:
        raise ArtifactError(f"{where} has the unknown key {unknown[0][:40]!r}: build the artifact again with this version.")
    if missing:
        raise ArtifactError(f"{where} lacks the key {missing[0]!r}: build the artifact again with this version.")
    return kind(**{name: _typed(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})


def _expect(kind: type, value: Any, where: str) -> Any:
    # bool is a subclass of int, and true is not a count.
    if type(value) is not kind:
        raise ArtifactError(f"{where} should be {kind.__name__}, but is {type(value).__name__}: build the artifact again.")
    return value
