"""Tables of README and of the pages are the committed figures, and links between pages resolve."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.stream_errors import Row
from scripts.write_pages import TABLES, Table, with_table
from ssm2edge.export.onnx_graph import OLDEST_ONNXRUNTIME

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*/README.md")),
]
RESULTS = ROOT / "models" / "digits" / "results"


def test_the_oldest_runtime_is_one_that_was_tried() -> None:
    figures = json.loads((RESULTS / "onnxruntime.json").read_text(encoding="utf-8"))
    assert figures["oldest"] == OLDEST_ONNXRUNTIME
    tried = [trial for trial in figures["trials"] if trial["onnxruntime"] == OLDEST_ONNXRUNTIME]
    assert {trial["artifact"].partition(",")[0] for trial in tried} == {"digits", "sysid"}
    assert all(trial["failure"] is None and max(trial["differences"].values()) <= 1e-4 for trial in tried)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.page}: {table.mark}")
def test_table_is_made_of_committed_figures(table: Table) -> None:
    page = (ROOT / table.page).read_text(encoding="utf-8")
    assert page == with_table(page, table.mark, table.render()), "run scripts/write_pages.py"
    assert page.count(f"<!-- {table.mark} -->") == 1


def test_a_page_without_the_marks_is_named() -> None:
    with pytest.raises(SystemExit, match="no <!-- models -->"):
        with_table("# A page", "models", "| a |")


def test_no_stream_drifts() -> None:
    figures = json.loads((ROOT / "docs" / "streaming.json").read_text(encoding="utf-8"))
    streamed = {name for name, found in figures["models"].items() if "rows" in found}
    assert streamed == {"every rule", "one rate", "digits", "fashion", "activity", "keywords", "sysid"}
    assert all(Row(**row).passed for name in streamed for row in figures["models"][name]["rows"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_resolve(page: Path) -> None:
    leads = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    inside = [lead.partition("#")[0] for lead in leads if not lead.startswith(("http", "#"))]
    assert [lead for lead in inside if not (page.parent / lead).exists()] == []


def test_readme_leads_to_every_page() -> None:
    leads = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").iterdir() if page.suffix in (".md", ".ipynb")} <= leads
