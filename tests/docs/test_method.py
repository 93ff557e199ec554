"""docs/method.md: its table of reductions is that of the recorded figures."""

from __future__ import annotations

from pathlib import Path

from compare_reductions import table

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "method.md"


def test_the_table_is_that_of_the_recorded_figures() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition("<!-- reductions -->\n")[2].partition("<!-- /reductions -->")[0]
    assert shown == table(), "paste what scripts/compare_reductions.py --table prints"
