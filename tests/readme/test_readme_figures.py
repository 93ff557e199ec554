"""README's tables are the committed figures, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.calibration_table import markdown as calibration_markdown
from scripts.latency.table import markdown as latency_markdown
from scripts.reproduce_tables import stored
from scripts.retraining_table import markdown as finetune_markdown
from scripts.stream_errors import Row
from scripts.streams_table import markdown as streams_markdown
from scripts.table_text import summary
from ssm2edge.export.onnx_graph import OLDEST_ONNXRUNTIME

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "models" / "digits" / "results"


def test_the_oldest_runtime_is_one_that_was_tried() -> None:
    figures = json.loads((RESULTS / "onnxruntime.json").read_text(encoding="utf-8"))
    assert figures["oldest"] == OLDEST_ONNXRUNTIME
    tried = [trial for trial in figures["trials"] if trial["onnxruntime"] == OLDEST_ONNXRUNTIME]
    assert {trial["artifact"].partition(",")[0] for trial in tried} == {"digits", "sysid"}
    assert all(trial["failure"] is None and max(trial["differences"].values()) <= 1e-4 for trial in tried)


def between(name: str, page: str = "README.md") -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found is not None, name
    return found.group(1).strip()


@pytest.mark.parametrize(
    ("name", "render"),
    [("latency", latency_markdown), ("calibration", calibration_markdown), ("finetune", finetune_markdown)],
)
def test_table_is_made_of_committed_figures(name: str, render: Callable[[dict[str, Any]], str]) -> None:
    figures = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert between(name) == render(figures).strip()


def test_streams_table_is_made_of_committed_figures_and_none_drifts() -> None:
    figures = json.loads((ROOT / "docs" / "streaming.json").read_text(encoding="utf-8"))
    assert between("streams", "docs/streaming.md") == streams_markdown(figures).strip()
    streamed = {name for name, found in figures["models"].items() if "rows" in found}
    assert streamed == {"every rule", "one rate", "digits", "fashion", "activity", "keywords", "sysid"}
    assert all(Row(**row).passed for name in streamed for row in figures["models"][name]["rows"])


def test_summary_of_models_is_that_of_the_committed_tables() -> None:
    assert between("models") == summary(stored(ROOT / "models")).replace("](../models/", "](models/").strip()


def test_pages_that_readme_leads_to_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    leads = re.findall(r"\]\(([^)#]+)\)", text)
    assert leads
    assert [lead for lead in leads if not (ROOT / lead).exists()] == []
