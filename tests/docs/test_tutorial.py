"""docs/tutorial.ipynb runs from its first cell to its last, and shows what its cells give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.run_tutorial import NOTEBOOK, cells, executed, outputs

pytestmark = pytest.mark.usefixtures("brief_latencies")

STORED: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def kinds(cell: dict[str, Any]) -> list[list[str]]:
    """Kinds of a cell's outputs, with the forms of its value."""
    return [[one["output_type"], *sorted(one.get("data", {}))] for one in cell["outputs"]]


def printed(notebook: dict[str, Any]) -> str:
    return "".join("".join(one["text"]) for cell in cells(notebook) for one in cell["outputs"] if one["output_type"] == "stream")


@pytest.mark.slow
def test_every_cell_runs_and_gives_what_is_stored(tmp_path: Path) -> None:
    done = executed(STORED, tmp_path)
    assert [kinds(cell) for cell in cells(done)] == [kinds(cell) for cell in cells(STORED)]
    text = printed(done)
    # The claims of the text: the stream is the whole sequence, a snapshot goes on with the same bits, and every check passes.
    assert float(re.findall(r"stream and whole sequence: (\S+)", text)[0]) < 1e-5
    assert "same bits: True" in text
    assert re.search(r"True \d+ checks, 0 failures", text)
    original, compressed = map(float, re.findall(r"mean square error ([\d.]+)", text))
    assert compressed < 2 * original
    before, after = map(int, re.findall(r"(\d+) parameters before, (\d+) after", text)[0])
    assert after < before / 2


def test_stored_outputs_are_complete_and_small() -> None:
    assert NOTEBOOK.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in cells(STORED)] == list(range(1, len(cells(STORED)) + 1))
    pictures = [one for cell in cells(STORED) for one in cell["outputs"] if "image/svg+xml" in one.get("data", {})]
    assert len(pictures) >= 4
    # Nothing of the machine it was run on.
    assert not re.search(r"/(tmp|home|root|work)/", NOTEBOOK.read_text(encoding="utf-8"))


def test_a_cell_that_fails_fails_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        outputs("x = 1\nx / 0", {}, 1)


def test_outputs_are_what_is_printed_and_the_last_value() -> None:
    first, second = outputs("print('a')\n1 + 1", {}, 3)
    assert first["text"] == ["a\n"]
    assert second["data"] == {"text/plain": ["2"]}
    assert second["execution_count"] == 3
