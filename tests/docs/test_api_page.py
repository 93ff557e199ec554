"""docs/api.md is written from the docstrings, and names every public function, class and argument."""

from __future__ import annotations

import inspect

import pytest

import ssm2edge
from scripts.api_page import PAGE, SECTIONS, documented, page
from ssm2edge.options import TABLE

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_made_of_the_docstrings() -> None:
    assert page() == TEXT, "run scripts/api_page.py"


def test_every_public_name_and_option_is_on_the_page() -> None:
    headings = [line for line in TEXT.splitlines() if line.startswith("#")]
    public = [name for name in ssm2edge.__all__ if not name.startswith("_")]
    assert [name for name in public if not any(f"`ssm2edge.{name}" in heading for heading in headings)] == []
    assert [name for name in TABLE if f"\n| `{name}` |" not in TEXT] == []


@pytest.mark.parametrize("name", ["compress", "build", "inspect", "open"])
def test_every_argument_has_its_line(name: str) -> None:
    function = getattr(ssm2edge, name)
    described = documented(function, "")
    # A single directory needs no explanation.
    arguments = [one for one in inspect.signature(function).parameters if one not in ("options", "directory")]
    assert [one for one in arguments if f"`{one}`" not in described] == []


def test_no_markup_of_docstrings_is_left() -> None:
    assert "``" not in TEXT.replace("```", "")
    assert ":func:" not in TEXT
    assert ":class:" not in TEXT
    assert all(section.names for section in SECTIONS)
