"""JSON Schemas (draft 2020-12) of ``manifest.json``, ``report.json`` and ``sweep.json``, from their records.

The package has them as files, such as ``manifest.schema.json``, for tools in other languages.  Reading needs
neither them nor a schema library, because `typed` follows the same records.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from ssm2edge.artifact.figures import FIGURES_SCHEMA, Figures
from ssm2edge.artifact.reading import LARGEST_FILE, PLAIN_NAME
from ssm2edge.artifact.records import SCHEMA, FileRecord, Manifest
from ssm2edge.artifact.sweep import SWEEP_SCHEMA, SweepRecord
from ssm2edge.artifact.typed import is_optional

SCHEMAS: Mapping[str, tuple[type, int]] = {
    "manifest.schema.json": (Manifest, SCHEMA),
    "report.schema.json": (Figures, FIGURES_SCHEMA),
    "sweep.schema.json": (SweepRecord, SWEEP_SCHEMA),
}
"""By file: the record at the root, and its version."""

_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}
_NARROWER: Mapping[tuple[type, str], dict[str, Any]] = {
    (FileRecord, "sha256"): {"pattern": "^[0-9a-f]{64}$"},
    (FileRecord, "bytes"): {"minimum": 0, "maximum": LARGEST_FILE},
    (Manifest, "files"): {"propertyNames": {"pattern": f"^{PLAIN_NAME}$"}},
}
"""Checks of an opened artifact beyond types."""


def schema_of(root: type, version: int) -> dict[str, Any]:
    """Return the JSON Schema of a record and of all records in it."""
    kinds = records_of(root)
    definitions = {kind.__name__: _record(kind) for kind in kinds}
    definitions[root.__name__]["properties"]["schema"]["const"] = version
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ssm2edge {root.__name__.removesuffix('Record').lower()}, version {version}",
        "$ref": f"#/$defs/{root.__name__}",
        "$defs": definitions,
    }


def records_of(root: type) -> list[type]:
    """Return a record and those in it, each once, outer ones first."""
    found = [root]
    for kind in found:
        for hint in typing.get_type_hints(kind).values():
            found += [inner for inner in _records_in(hint) if inner not in found]
    return found


def fields_of(kind: type) -> list[tuple[str, str, str]]:
    """Return name, type in words, and meaning of every field of a record."""
    hints, meanings = typing.get_type_hints(kind), _meanings(kind)
    return [(entry.name, _words(hints[entry.name]), meanings.get(entry.name, "")) for entry in dataclasses.fields(kind)]


def summary_of(kind: type) -> str:
    """Return the first paragraph of a record's docstring, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _record(kind: type) -> dict[str, Any]:
    hints, meanings = typing.get_type_hints(kind), _meanings(kind)
    properties = {}
    for name, hint in hints.items():
        described = {"description": meanings[name]} if name in meanings else {}
        properties[name] = _type(hint) | _NARROWER.get((kind, name), {}) | described
    return {
        "type": "object",
        "description": summary_of(kind),
        "properties": properties,
        "required": sorted(entry.name for entry in dataclasses.fields(kind) if not is_optional(entry)),
        "additionalProperties": False,
    }


def _type(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return {"anyOf": [_type(inner), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return dict(_PLAIN[hint])


def _words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return f"{_words(inner)} or null"
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is Mapping:
        return f"object of {_words(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return hint.__name__
    return {str: "string", int: "integer", float: "number", bool: "boolean"}.get(hint, "any value")


def _records_in(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [kind for argument in typing.get_args(hint) for kind in _records_in(argument)]


def _meanings(kind: type) -> dict[str, str]:
    """Return the meaning of each name in the ``Attributes`` section of a docstring."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", section):
        names, _, text = block.partition("\n")
        found |= {name.strip(): " ".join(text.split()).replace("``", "`") for name in names.split(",") if text}
    return found
