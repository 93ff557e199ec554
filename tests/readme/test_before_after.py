"""README's picture of a model before and after is drawn from committed figures, to scale."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from scripts.before_after import AFTER, BEFORE, FIGURES, PICTURE, picture

SVG = "{http://www.w3.org/2000/svg}"
KNOWN = json.loads(FIGURES.read_text(encoding="utf-8"))


def test_the_picture_is_made_of_committed_figures() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(KNOWN)


def test_bars_are_in_proportion() -> None:
    rectangles = list(ElementTree.fromstring(picture(KNOWN)).iter(f"{SVG}rect"))
    widths = {colour: [float(r.attrib["width"]) for r in rectangles if r.attrib["fill"] == colour] for colour in (BEFORE, AFTER)}
    cell, graphs = KNOWN["cells"]["match 1/8"], KNOWN["deployed"]["1/8"]
    shares = [
        cell["states"] / KNOWN["original"]["states"],
        graphs["bytes"]["stream"] / KNOWN["original"]["weights_bytes"],
        graphs["seconds"]["offline"] / graphs["seconds"]["original"],
        cell["value"] / KNOWN["original"]["value"],
    ]
    assert len(widths[BEFORE]) == len(shares)
    assert [after / before for before, after in zip(widths[BEFORE], widths[AFTER], strict=True)] == pytest.approx(
        shares, abs=1e-3
    )
