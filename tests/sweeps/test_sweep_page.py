"""The page of a sweep: it loads nothing, shows foreign text as text, and works in a real browser at two widths."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ssm2edge.artifact.sweep import SweepRecord
from ssm2edge.report.sweep import render_sweep
from tests.report import test_in_browser
from tests.sweeps.sweep_records import many, one

PROBE = """
<script>
const circles = () => document.querySelectorAll("#plot circle.cell").length;
const rows = () => document.querySelectorAll("#all tbody tr").length;
const select = (n) => document.querySelectorAll("#controls select")[n];
const change = (box) => box.dispatchEvent(new Event("change"));
const found = { circles: circles(), rows: rows(), chosen: document.querySelectorAll("#plot circle.chosen").length };
const svg = () => document.querySelector("#plot svg");
const point = document.querySelector("#plot circle.cell");
const spot = point.getBoundingClientRect();
const where = { clientX: spot.left + spot.width / 2, clientY: spot.top + spot.height / 2, bubbles: true, pointerType: "mouse" };
svg().dispatchEvent(new PointerEvent("pointermove", where));
found.tip = document.getElementById("tip").innerText;
found.inside = document.getElementById("tip").getBoundingClientRect().right <= innerWidth;
svg().dispatchEvent(new PointerEvent("pointerleave", where));
found.gone = document.getElementById("tip").hidden;
svg().dispatchEvent(new MouseEvent("click", where));
found.seen = document.querySelector("#cell h3").innerText;
found.clicked = point.dataset.name;
svg().dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
found.keyed = document.querySelector("#cell h3").innerText;
const box = document.querySelector("#controls input");
if (box) {
  box.checked = false;
  change(box);
  found.filtered = circles();
  box.checked = true;
  change(box);
  const across = select(1);
  found.axes = [];
  for (const option of [...across.options]) {
    const now = select(1);
    now.value = option.value;
    change(now);
    found.axes.push([option.value, circles(), svg().querySelectorAll("line.grid").length]);
  }
  select(0).value = "sysid";
  change(select(0));
  found.other = [circles(), document.getElementById("title").innerText];
  document.querySelector("#all thead button").click();
  found.sorted = [...document.querySelectorAll("#all tbody th")].map((cell) => Number(cell.innerText));
}
found.cut = [...document.querySelectorAll("#plot text")].filter((text) => {
  const [at, whole] = [text.getBoundingClientRect(), svg().getBoundingClientRect()];
  return at.left < whole.left - 1 || at.right > whole.right + 1;
}).map((text) => text.textContent);
found.wide = document.documentElement.scrollWidth > innerWidth + 1;
found.width = innerWidth;
found.faults = faults;
const seen = document.createElement("pre");
seen.id = "probe";
seen.textContent = JSON.stringify(found);
parent.document.body.appendChild(seen);
</script>
"""


@pytest.mark.parametrize("record", [many(), one()], ids=["many", "one"])
def test_the_page_loads_nothing_and_shows_text_as_text(record: SweepRecord) -> None:
    page = render_sweep(record)
    script = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert script is not None
    assert "<" not in script[1]
    cells = json.loads(script[1])["cells"]
    assert [cell["name"] for cell in cells] == [cell.name for cell in record.cells if cell.status == "done"]
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "<b>cannot</b>" not in page
    for cell in record.cells:
        if cell.status == "failed":
            assert html.escape(str(cell.error)) in page


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_points_filters_axes_and_details_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    seen = look(render_sweep(many()), tmp_path, width, monkeypatch)
    assert seen["circles"] == seen["rows"] == 52
    assert seen["chosen"] == 1
    assert "accuracy" in seen["tip"]
    assert "bytes" in seen["tip"]
    assert seen["inside"]
    assert seen["gone"]
    order, method, precision = re.fullmatch(r"order-(\d+)-(\w+)-(\w+)", seen["clicked"]).groups()  # type: ignore[union-attr]
    assert seen["seen"] == f"order {order}, method {method}, precision {precision}"
    assert seen["keyed"] != seen["seen"]
    assert seen["filtered"] == 52 - 8  # of order 32 one failed
    assert {axis for axis, _, _ in seen["axes"]} >= {"bytes", "latency", "multiply_adds", "parameters"}
    assert "ram" not in {axis for axis, _, _ in seen["axes"]}
    assert all(circles == 52 and lines >= 4 for _, circles, lines in seen["axes"])
    assert seen["other"][0] == 54
    assert seen["other"][1].startswith("NRMSE")
    assert seen["sorted"] == sorted(seen["sorted"])
    assert len(set(seen["sorted"])) == 6


@pytest.mark.slow
def test_a_single_cell_without_labels_is_a_point_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = look(render_sweep(one()), tmp_path, 390, monkeypatch)
    assert seen["circles"] == seen["rows"] == 1
    assert "error" in seen["tip"]


def look(page: str, place: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(test_in_browser, "AFTER", PROBE)
    seen, console = test_in_browser.look(page, place, width)
    assert (seen["width"], seen["faults"], console) == (width, [], "")
    assert not seen["wide"]
    assert seen["cut"] == []
    return seen
