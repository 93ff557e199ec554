"""The JSON Schemas that the package carries say what the strict readers do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.write_schemas import DOCUMENT, schema_text, with_tables
from ssm2edge.artifact import ArtifactError, load_figures
from ssm2edge.artifact.manifest import from_json
from ssm2edge.artifact.schemas import SCHEMAS
from tests.artifact.test_manifests import full
from tests.first_order import build
from tests.report_pages import odd


def validator(name: str) -> Any:
    schema = json.loads(files("ssm2edge.artifact").joinpath(name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_files_and_the_document_are_those_of_the_records(name: str) -> None:
    carried = files("ssm2edge.artifact").joinpath(name).read_text(encoding="utf-8")
    assert carried == schema_text(name), "run scripts/write_schemas.py"
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == with_tables(document), "run scripts/write_schemas.py"


def test_every_field_is_in_the_document() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for name in SCHEMAS:
        section = document.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
        for record in json.loads(schema_text(name))["$defs"].values():
            assert all(f"| `{field}` |" in section for field in record["properties"])


def real_manifest(place: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((build(place / "build") / "manifest.json").read_text())
    return manifest


def test_real_manifests_are_valid(tmp_path: Path) -> None:
    validator("manifest.schema.json").validate(real_manifest(tmp_path))


def changes(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place of a JSON value, with what could be put there: nothing (...), a key too many, and values of other types."""
    if isinstance(value, dict):
        yield (*place, "a key too many"), 1
        for key, item in value.items():
            yield (*place, key), ...
            yield from changes(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:2]):
            yield from changes(item, (*place, index))
    if place:
        for other in (None, True, -3, 1.5, "text", [], {}):
            if other != value or type(other) is not type(value):
                yield place, other


def changed(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    copied = copy.deepcopy(value)
    inner = copied
    for key in place[:-1]:
        inner = inner[key]
    if other is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = other
    return copied


def short(value: Any) -> Any:
    """The same with at most one entry in every list."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return [short(item) for item in value[:1]] if isinstance(value, list) else value


def read_manifest(text: str) -> bool:
    try:
        from_json(text)
    except ArtifactError:
        return False
    return True


@pytest.mark.slow
def test_reader_and_schema_agree_on_every_changed_manifest(tmp_path: Path) -> None:
    check = validator("manifest.schema.json")
    manifest = json.loads(json.dumps(real_manifest(tmp_path)))
    del manifest["seal"]  # which refuses any change, whatever its type
    seen = {True: 0, False: 0}
    for place, other in changes(manifest):
        # What the files are is compared when an artifact is opened, not when its manifest is read.
        if place[0] == "files":
            continue
        value = changed(manifest, place, other)
        accepted = read_manifest(json.dumps(value))
        assert check.is_valid(value) == accepted, (place, other)
        seen[accepted] += 1
    assert seen[False] > 200
    assert seen[True] > 20


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("../outside", {"sha256": "0" * 64, "bytes": 1}),
        (".hidden", {"sha256": "0" * 64, "bytes": 1}),
        ("a", {"sha256": "0" * 63, "bytes": 1}),
        ("a", {"sha256": "0" * 64, "bytes": -1}),
    ],
)
def test_files_that_opening_refuses_are_not_valid(tmp_path: Path, name: str, record: dict[str, Any]) -> None:
    manifest = real_manifest(tmp_path)
    manifest["files"][name] = record
    assert not validator("manifest.schema.json").is_valid(manifest)


def test_reader_and_schema_agree_on_every_changed_report(tmp_path: Path) -> None:
    check = validator("report.schema.json")
    odd()[1].save(tmp_path)
    path = tmp_path / "report.json"
    figures = short(json.loads(path.read_text()))
    check.validate(figures)
    for place, other in changes(figures):
        value = changed(figures, place, other)
        path.write_text(json.dumps(value))
        try:
            load_figures(path)
            accepted = True
        except ArtifactError:
            accepted = False
        assert check.is_valid(value) == accepted, (place, other)


def test_manifests_with_everything_in_them_are_valid() -> None:
    from ssm2edge.artifact.manifest import to_json

    manifest = json.loads(to_json(full()))
    validator("manifest.schema.json").validate(manifest)
