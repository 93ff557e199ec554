"""Write the JSON Schemas of an artifact's files, and the tables of docs/formats.md, from the records.

    python scripts/write_schemas.py

To be run whenever a record of the manifest or of the figures changes; a test compares.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from ssm2edge.artifact.schemas import SCHEMAS, fields_of, records_of, schema_of, summary_of

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "ssm2edge" / "artifact"
DOCUMENT = ROOT / "docs" / "formats.md"


def schema_text(name: str) -> str:
    """Content of a schema's file."""
    return json.dumps(schema_of(*SCHEMAS[name]), indent=2, ensure_ascii=False) + "\n"


def tables(name: str) -> str:
    """The tables of all records of a file, as Markdown."""
    parts = []
    for kind in records_of(SCHEMAS[name][0]):
        rows = [f"| `{field}` | {words} | {meaning or '–'} |" for field, words, meaning in fields_of(kind)]
        parts.append(f"**{kind.__name__}**: {summary_of(kind)}\n\n| key | type | meaning |\n|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts).replace("``", "`")


def with_tables(document: str) -> str:
    """A document whose marked places hold the tables."""
    for name in SCHEMAS:
        place = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
        text = tables(name)
        document = re.sub(place, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", document, flags=re.DOTALL)  # type: ignore[misc]  # a default binds the loop's value
    return document


def main() -> None:
    """Write everything."""
    for name in SCHEMAS:
        (PLACE / name).write_text(schema_text(name), encoding="utf-8")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
